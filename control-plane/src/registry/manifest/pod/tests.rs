use super::Origin;
use crate::mesh::{Mtls, Pod, Protocol};
use crate::registry::testing::{faults, good, read};

fn manifest(metadata: &str, rest: &str) -> String {
    format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: a-1, {metadata}}}\n{rest}")
}

fn pod(metadata: &str, rest: &str) -> Pod {
    good(&manifest(metadata, rest)).pods.values().next().unwrap().as_ref().clone()
}

#[test]
fn a_pod_without_anything_has_defaults() {
    let pod = pod("", "");
    assert_eq!((pod.service_account.as_ref(), pod.workload.as_ref(), pod.injected), ("default", "a-1", false));
    assert_eq!((pod.mtls, pod.addresses.len(), pod.ports.len()), (None, 0, 0));
}

#[test]
fn the_workload_is_the_label_or_the_owner() {
    let owner = |kind: &str, name: &str| {
        format!("ownerReferences: [{{apiVersion: apps/v1, kind: {kind}, name: {name}, uid: x, controller: true}}]")
    };
    assert_eq!(pod("labels: {app: api, app.kubernetes.io/name: backend}", "").workload.as_ref(), "backend");
    assert_eq!(pod("labels: {app: api}", "").workload.as_ref(), "api");
    assert_eq!(pod(&owner("StatefulSet", "db"), "").workload.as_ref(), "db");
    let deployed = format!("labels: {{pod-template-hash: 5f6}}, {}", owner("ReplicaSet", "web-5f6"));
    assert_eq!(pod(&deployed, "").workload.as_ref(), "web");
    assert_eq!(pod(&owner("ReplicaSet", "web-5f6"), "").workload.as_ref(), "web-5f6");
}

#[test]
fn the_sidecar_is_asked_for_by_label_or_annotation() {
    assert!(pod("labels: {weft.dev/inject: enabled}", "").injected);
    assert!(pod("annotations: {weft.dev/inject: enabled}", "").injected);
    assert!(!pod("labels: {weft.dev/inject: disabled}, annotations: {weft.dev/inject: enabled}", "").injected);
    let (manifests, faults) = read(&manifest("labels: {weft.dev/inject: 'true'}", ""));
    assert!(!manifests.pods.values().next().unwrap().injected);
    let expected = "metadata.labels[weft.dev/inject]: \"true\" is not one of enabled, disabled";
    assert!(faults[0].to_string().contains(expected), "{faults:?}");
}

#[test]
fn what_is_not_understood_of_mtls_is_strict() {
    assert_eq!(pod("annotations: {weft.dev/mtls: permissive}", "").mtls, Some(Mtls::Permissive));
    let (manifests, faults) = read(&manifest("annotations: {weft.dev/mtls: off}", ""));
    assert_eq!(manifests.pods.values().next().unwrap().mtls, Some(Mtls::Strict));
    let expected = "metadata.annotations[weft.dev/mtls]: \"off\" is not one of strict, permissive; the pod is strict";
    assert!(faults[0].to_string().contains(expected), "{faults:?}");
}

#[test]
fn a_pod_has_no_address_of_its_own_on_the_host_network_or_when_it_ended() {
    let addresses = |rest: &str| pod("", rest).addresses.len();
    assert_eq!(addresses("status: {podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}"), 2);
    assert_eq!(addresses("spec: {hostNetwork: true, containers: []}\nstatus: {podIP: 10.0.0.1}"), 0);
    assert_eq!(addresses("status: {podIP: 10.0.0.1, phase: Succeeded}"), 0);
    assert_eq!(addresses("status: {podIP: 10.0.0.1, phase: Failed}"), 0);
}

#[test]
fn ports_of_containers_and_native_sidecars_are_read() {
    let pod = pod(
        "",
        "spec:
  containers:
  - {name: a, ports: [{name: grpc-x, containerPort: 9000}, {containerPort: 53, protocol: UDP}, {containerPort: 80}]}
  initContainers:
  - {name: b, restartPolicy: Always, ports: [{containerPort: 3306}]}
  - {name: c, ports: [{containerPort: 1}]}",
    );
    let ports: Vec<_> = pod.ports.iter().map(|port| (port.number, port.protocol)).collect();
    assert_eq!(ports, [(80, Protocol::Undeclared), (3306, Protocol::Opaque), (9000, Protocol::Http)]);
}

#[test]
fn bad_values_are_told() {
    for (rest, expected) in [
        ("status: {podIP: x}", "status.podIP: \"x\" is not an IP address"),
        ("status: {podIPs: [{ip: 10.0.0.1}, {ip: 0.0.0.0}]}", "status.podIPs[1].ip: 0.0.0.0 is not the address"),
        ("spec: {serviceAccountName: a/b, containers: []}", "spec.serviceAccountName: \"a/b\" is no RFC 1123 name"),
        (
            "spec: {containers: [{name: a, ports: [{containerPort: 0}]}]}",
            "spec.containers[0].ports[0].containerPort: 0 is not a port",
        ),
    ] {
        let fault = faults(&manifest("", rest)).join("\n");
        assert!(fault.contains(expected), "{rest}: {fault}");
    }
}

#[test]
fn in_a_cluster_a_pod_has_the_sidecar_that_is_among_its_containers() {
    let injected = |origin, spec: serde_json::Value| {
        let metadata = serde_json::json!({"name": "a-1", "labels": {"weft.dev/inject": "enabled"}});
        let raw = serde_json::from_value(serde_json::json!({"metadata": metadata, "spec": spec})).unwrap();
        let name = crate::mesh::ObjectName::new("default", "a-1");
        super::read(&name, origin, raw, &mut crate::registry::fault::Report::default()).unwrap().injected
    };
    let (app, proxy) = (serde_json::json!({"name": "app"}), serde_json::json!({"name": "weft-proxy"}));
    let asked = serde_json::json!({"containers": [app]});
    assert_eq!([Origin::Files, Origin::Cluster].map(|origin| injected(origin, asked.clone())), [true, false]);
    assert!(injected(Origin::Cluster, serde_json::json!({"containers": [proxy, app]})));
    assert!(injected(Origin::Cluster, serde_json::json!({"containers": [app], "initContainers": [proxy]})));
}

#[test]
fn an_annotation_declares_ports_opaque() {
    let pod = pod(
        "annotations: {weft.dev/opaque-ports: '80,9001'}",
        "spec: {containers: [{name: a, ports: [{name: http, containerPort: 80}, {name: http-2, containerPort: 81}]}]}",
    );
    let ports: Vec<_> = pod.ports.iter().map(|port| (port.number, port.protocol)).collect();
    assert_eq!(ports, [(80, Protocol::Opaque), (81, Protocol::Http), (9001, Protocol::Opaque)]);
}
