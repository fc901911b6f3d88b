use crate::mesh::{Locality, Protocol, Service};
use crate::registry::testing::{faults, good};

fn manifest(spec: &str) -> String {
    format!("apiVersion: v1\nkind: Service\nmetadata: {{name: a}}\nspec: {spec}")
}

fn service(spec: &str) -> Service {
    good(&manifest(spec)).services.values().next().unwrap().as_ref().clone()
}

fn fault(spec: &str) -> String {
    faults(&manifest(spec)).join("\n")
}

#[test]
fn addresses_of_both_families_are_read_once() {
    let service = service("{clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1, 'fd00::1', '::ffff:10.0.0.2']}");
    assert_eq!(
        service.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["10.0.0.1", "fd00::1", "10.0.0.2"]
    );
}

#[test]
fn a_headless_service_has_no_address() {
    assert_eq!(service("{clusterIP: None, clusterIPs: [None]}").addresses, [] as [std::net::IpAddr; 0]);
    assert_eq!(service("{clusterIP: ''}").addresses, [] as [std::net::IpAddr; 0]);
}

#[test]
fn tcp_ports_are_read_with_what_they_declare() {
    let service = service(
        "{ports: [{port: 80, name: x, appProtocol: grpc}, {port: 53, name: dns, protocol: UDP}, {port: 53, name: tcp-dns}]}",
    );
    let ports: Vec<_> = service.ports.iter().map(|port| (port.name.as_ref(), port.number, port.protocol)).collect();
    assert_eq!(ports, [("x", 80, Protocol::Http), ("tcp-dns", 53, Protocol::Opaque)]);
}

#[test]
fn an_external_name_is_a_dns_name_and_no_address() {
    assert_eq!(
        service("{type: ExternalName, externalName: Example.com.}").external_name.as_deref(),
        Some("example.com")
    );
    for bad in ["169.254.169.254", "fd00::1", "a b", "", "0x7f.1"] {
        assert!(
            fault(&format!("{{type: ExternalName, externalName: '{bad}'}}")).contains("spec.externalName: "),
            "{bad:?} passed"
        );
    }
    assert!(fault("{type: ExternalName}").contains("spec.externalName: is missing"));
}

#[test]
fn bad_values_are_told() {
    for (spec, expected) in [
        ("{ports: [{port: 0}]}", "spec.ports[0].port: 0 is not a port; ports are 1 to 65535"),
        ("{ports: [{port: 65536}]}", "spec.ports[0].port: 65536 is not a port"),
        ("{ports: [{port: 1, name: a}, {port: 1, name: b}]}", "spec.ports[1]: port 1 \"b\": another port has the same"),
        ("{clusterIP: 10.0.0}", "spec.clusterIP: \"10.0.0\" is not an IP address"),
        ("{clusterIPs: [10.0.0.1, '::']}", "spec.clusterIPs[1]: :: is not the address of one machine"),
    ] {
        let fault = fault(spec);
        assert!(fault.contains(expected), "{spec}: {fault}");
    }
}

#[test]
fn an_annotation_declares_ports_opaque_whatever_they_are_called() {
    let text = |ports: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: a, annotations: {{weft.dev/opaque-ports: {ports:?}}}}}\n\
             spec: {{ports: [{{name: http, port: 80}}, {{name: http-2, port: 81}}]}}\n"
        )
    };
    let manifests = good(&text("80, 9000"));
    let ports = &manifests.services.values().next().unwrap().ports;
    assert_eq!(ports.iter().map(|port| port.protocol).collect::<Vec<_>>(), [Protocol::Opaque, Protocol::Http]);
    let faults = faults(&text("80,x"));
    assert!(faults[0].contains("metadata.annotations[weft.dev/opaque-ports]: \"x\" is not a port"), "{faults:?}");
}

#[test]
fn what_depends_on_the_clients_node_is_read() {
    let read = |spec: &str| {
        let service = service(spec);
        (service.locality, service.node_local)
    };
    assert_eq!(read("{}"), (Locality::Anywhere, false));
    assert_eq!(
        read("{internalTrafficPolicy: Cluster, trafficDistribution: PreferClose}"),
        (Locality::PreferSameZone, false)
    );
    assert_eq!(
        read("{internalTrafficPolicy: Local, trafficDistribution: PreferSameNode}"),
        (Locality::PreferSameNode, true)
    );
}
