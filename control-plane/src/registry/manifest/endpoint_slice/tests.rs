use crate::mesh::EndpointState::{self, Draining, NotReady, Ready};
use crate::registry::testing::{faults, good};

fn manifest(rest: &str) -> String {
    let metadata = "{name: a-1, labels: {kubernetes.io/service-name: a}}";
    format!("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {metadata}\n{rest}")
}

#[test]
fn conditions_decide_who_takes_requests() {
    let state = |conditions: &str| -> EndpointState {
        let rest = format!("addressType: IPv4\nendpoints: [{{addresses: [10.0.0.1], conditions: {conditions}}}]");
        good(&manifest(&rest)).endpoint_slices.values().next().unwrap().endpoints[0].state
    };
    assert_eq!(state("{}"), Ready);
    assert_eq!(state("{ready: true}"), Ready);
    assert_eq!(state("{ready: false}"), NotReady);
    assert_eq!(state("{ready: false, terminating: true}"), Draining);
    assert_eq!(state("{ready: false, serving: true, terminating: true}"), Draining);
    assert_eq!(state("{ready: false, serving: false, terminating: true}"), NotReady);
    assert_eq!(state("{ready: true, terminating: true}"), Draining);
}

#[test]
fn ports_are_found_by_the_name_of_the_services_port() {
    let rest = "addressType: IPv6\nports: [{port: 8080}, {name: b, port: 9090}, {name: u, port: 1, protocol: UDP}, {name: all}]";
    let manifests = good(&manifest(rest));
    let slice = manifests.endpoint_slices.values().next().unwrap();
    let found = ["", "b", "u", "all"].map(|name| slice.target_port(name));
    assert_eq!(found, [Some(8080), Some(9090), None, None]);
}

#[test]
fn bad_values_are_told() {
    for (rest, expected) in [
        ("addressType: FQDN", "mesh.yaml:4: addressType: \"FQDN\" is not one of IPv4, IPv6"),
        ("addressType: IPv4\nports: [{port: 0}]", "mesh.yaml:5: ports[0].port: 0 is not a port"),
        ("addressType: IPv4\nendpoints: [{addresses: []}]", "endpoints[0].addresses: is empty"),
        ("addressType: IPv4\nendpoints: [{addresses: [x]}]", "endpoints[0].addresses[0]: \"x\" is not an IP address"),
        ("addressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}]", "127.0.0.1 is loopback or link-local"),
        ("addressType: IPv4\nendpoints: [{addresses: [169.254.169.254]}]", "169.254.169.254 is loopback or link-local"),
        ("addressType: IPv6\nendpoints: [{addresses: ['::ffff:127.0.0.1']}]", "127.0.0.1 is loopback or link-local"),
    ] {
        let fault = faults(&manifest(rest)).join("\n");
        assert!(fault.contains(expected), "{rest}: {fault}");
    }
}

#[test]
fn a_slice_without_a_service_is_left_out() {
    let text = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a}\naddressType: IPv4";
    let fault = faults(text).join("\n");
    assert!(fault.contains("metadata.labels[kubernetes.io/service-name]: is missing"), "{fault}");
}
