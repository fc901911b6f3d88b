use crate::mesh::ObjectName;
use crate::registry::testing::{DEMO, faults, good, read};

#[test]
fn the_demo_is_read_whole() {
    let manifests = good(DEMO);
    let counts = [manifests.services.len(), manifests.pods.len(), manifests.endpoint_slices.len()];
    assert_eq!(counts, [5, 4, 4]);
    assert_eq!((manifests.service_accounts.len(), manifests.join_tokens.len()), (2, 1));
}

#[test]
fn json_is_read_too_and_the_namespace_has_a_default() {
    let manifests = good(r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": null}"#);
    assert!(manifests.pods.contains_key(&ObjectName::new("default", "a")));
}

#[test]
fn what_is_not_read_is_told_where_the_group_is_one_that_is_read() {
    assert_eq!(
        faults("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}"),
        [
            "mesh.yaml:2: kind: ConfigMap of v1 is not read; the kinds are Service (v1), EndpointSlice (discovery.k8s.io/v1), \
          Pod (v1), ServiceAccount (v1), Secret (v1), HTTPRoute (gateway.networking.k8s.io/v1), \
          GRPCRoute (gateway.networking.k8s.io/v1), TLSRoute (gateway.networking.k8s.io/v1, \
          gateway.networking.k8s.io/v1alpha3, gateway.networking.k8s.io/v1alpha2), \
          TCPRoute (gateway.networking.k8s.io/v1, gateway.networking.k8s.io/v1alpha2), \
          ReferenceGrant (gateway.networking.k8s.io/v1, gateway.networking.k8s.io/v1beta1), TrafficPolicy (weft.dev/v1alpha1), FaultInjection (weft.dev/v1alpha1), \
          Namespace (v1), Node (v1)"
        ]
    );
    let old = faults("apiVersion: gateway.networking.k8s.io/v1beta1\nkind: HTTPRoute\nmetadata: {name: a}");
    assert!(old[0].contains("HTTPRoute of gateway.networking.k8s.io/v1beta1 is not read"), "{old:?}");
    assert_eq!(faults("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}"), [""; 0]);
    assert_eq!(faults("# nothing\n---\n---\n"), [""; 0]);
}

#[test]
fn what_is_no_manifest_is_told() {
    assert_eq!(
        faults("---\nmetadata: {name: a}\n"),
        [
            "mesh.yaml:2: apiVersion: is missing: this is no Kubernetes manifest; the document is left out, and what the file \
          said before stays in force"
        ]
    );
    let faults = faults("kind: Service\napiVersion: v1\nmetadata:\n  name: Api.x\n");
    assert!(faults[0].starts_with("mesh.yaml:4: metadata.name: \"Api.x\" is no RFC 1123 name"), "{faults:?}");
}

#[test]
fn a_bad_document_leaves_the_others_alone() {
    let text = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n---\n: [\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: b}\n";
    let (manifests, faults) = read(text);
    assert_eq!(manifests.pods.len(), 2);
    assert_eq!(faults.len(), 1);
}

#[test]
fn a_field_of_the_wrong_type_is_told_with_line_and_path() {
    let faults = faults("apiVersion: v1\nkind: Service\nmetadata:\n  name: a\nspec:\n  ports:\n  - port: http\n");
    assert_eq!(
        faults,
        ["mesh.yaml:7: spec.ports[0].port: invalid type: string \"http\", expected i32; the object is left out"]
    );
}
