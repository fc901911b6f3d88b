use std::collections::BTreeMap;

use proptest::prelude::*;
use weft_api::names::INBOUND_LISTENER;

use super::*;
use crate::mesh::testing::{mesh, split, split_mesh};
use crate::mesh::{Endpoint, EndpointSlice, Manifests, Split, Table};
use crate::registry::testing::{DEMO, good};
use crate::xds::resources::{NodeRef, names, resource};

fn listed(changes: &Changes) -> Vec<String> {
    let resources = changes.resources().map(|(kind, name)| format!("{} {name}", kind.name()));
    resources.chain(changes.inbound().map(|pod| format!("inbound {pod}"))).collect()
}

/// The demo, twice, with something changed in between.
fn changed(change: impl FnOnce(&mut Manifests)) -> Vec<String> {
    let manifests = good(DEMO);
    let old = split_mesh(manifests.clone(), &[]);
    let mut manifests = manifests;
    change(&mut manifests);
    listed(&split_mesh(manifests, &[]).changed(&old))
}

fn edit<T: Clone>(table: &mut Table<ObjectName, T>, name: &str, edit: impl FnOnce(&mut T)) {
    let name = ObjectName::new("shop", name);
    let mut object = T::clone(table.get(&name).unwrap());
    edit(&mut object);
    table.insert(name, Arc::new(object));
}

#[test]
fn nothing_changed_is_nothing() {
    assert!(changed(|_| {}).is_empty());
    let (one, other) = (mesh(DEMO), mesh(DEMO));
    assert!(!one.changed(&other).is_empty(), "values that were read apart may differ, for all that is known");
}

#[test]
fn an_endpoint_touches_its_service_and_its_own_names() {
    let (address, state) = ("10.1.0.1".parse().unwrap(), crate::mesh::EndpointState::Ready);
    let new = Endpoint { address, zone: "a".into(), node: "n".into(), state };
    let changes = changed(|manifests| {
        edit(&mut manifests.endpoint_slices, "users-4", |slice| slice.endpoints = vec![new]);
    });
    let unrelated = changes.iter().any(|name| name.contains("shop/api") || name.contains("10.96."));
    assert!(!unrelated, "{changes:?}");
    assert!(changes.contains(&"ClusterLoadAssignment shop/users:80".to_owned()), "{changes:?}");
    assert!(!changes.contains(&"Cluster shop/users:80".to_owned()), "{changes:?}");
    assert!(changes.contains(&"inbound shop/web".to_owned()), "{changes:?}");
}

#[test]
fn a_split_touches_its_services_routes_and_listeners() {
    let manifests = good(DEMO);
    let splits = |weight| split_mesh(manifests.clone(), &[split("api", &[("api-v1", 0, 1), ("api-v2", 0, weight)])]);
    assert_eq!(
        listed(&splits(2).changed(&splits(1))),
        ["Listener 10.96.0.10:80", "Listener [fd00::10]:80", "RouteConfiguration shop/api:80"]
    );
}

#[test]
fn a_service_touches_the_routes_that_send_to_it() {
    let manifests = good(DEMO);
    let mut without = manifests.clone();
    without.services.remove(&ObjectName::new("shop", "api-v2"));
    let splits = [split("api", &[("api-v2", 0, 1)])];
    let changes = split_mesh(without, &splits).changed(&split_mesh(manifests, &splits));
    assert!(changes.contains(ResourceKind::RouteConfiguration, "shop/api:80"));
    assert!(changes.contains(ResourceKind::Cluster, "shop/api-v2:80"));
    assert!(!changes.contains(ResourceKind::Cluster, "shop/api:80"));
    assert!(changes.contains_inbound("shop", "api-v2"));
    assert!(!changes.contains_inbound("shop", "api-v1"));
}

fn parsed(text: &str) -> Manifests {
    crate::registry::testing::good(text)
}

#[test]
fn a_policy_touches_clusters_and_routes_and_with_limits_the_pods() {
    let policy = |spec: &str| {
        let metadata = "metadata: {name: p, namespace: shop}";
        let spec = format!("{{targetRefs: [{{kind: Service, name: users}}], {spec}}}");
        parsed(&format!("apiVersion: weft.dev/v1alpha1\nkind: TrafficPolicy\n{metadata}\nspec: {spec}"))
            .traffic_policies
    };
    let names = ["users:3306", "users:80"];
    let expected = |kind: &str| names.map(|name| format!("{kind} shop/{name}"));
    let both = [expected("RouteConfiguration"), expected("Cluster")].concat();
    assert_eq!(changed(|manifests| manifests.traffic_policies = policy("requests: {timeout: 1s}")), both);
    let limited = changed(|manifests| {
        manifests.traffic_policies = policy("rateLimit: {local: [{name: l, requests: 1, per: 1s}]}")
    });
    assert_eq!(limited, [both, vec!["inbound shop/users".to_owned()]].concat());
}

#[test]
fn grants_and_faults_touch_the_routes_that_refer_to_them() {
    let route = parsed(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\n\
         spec: {parentRefs: [{group: '', kind: Service, name: api}], rules: [{backendRefs: [{name: x, namespace: bank, port: 80}], \
         filters: [{type: ExtensionRef, extensionRef: {group: weft.dev, kind: FaultInjection, name: f}}]}]}",
    );
    let grant = |namespace: &str| {
        parsed(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: ReferenceGrant\nmetadata: {{name: g, namespace: {namespace}}}\n\
             spec: {{from: [], to: []}}"
        ))
        .reference_grants
    };
    let fault = |name: &str| {
        let metadata = format!("{{name: {name}, namespace: shop}}");
        let text = format!(
            "apiVersion: weft.dev/v1alpha1\nkind: FaultInjection\nmetadata: {metadata}\nspec: {{abort: {{httpStatus: 500}}}}"
        );
        parsed(&text).fault_injections
    };
    let mut manifests = good(DEMO);
    manifests.routes = route.routes;
    let old = split_mesh(manifests.clone(), &[]);
    let changed = |edit: &dyn Fn(&mut Manifests)| {
        let mut manifests = manifests.clone();
        edit(&mut manifests);
        listed(&split_mesh(manifests, &[]).changed(&old))
    };
    let touched = ["Listener 10.96.0.10:80", "Listener [fd00::10]:80", "RouteConfiguration shop/api:80"];
    assert_eq!(changed(&|manifests| manifests.reference_grants = grant("bank")), touched);
    assert_eq!(changed(&|manifests| manifests.fault_injections = fault("f")), touched);
    assert_eq!(changed(&|manifests| manifests.reference_grants = grant("mall")), [""; 0]);
    assert_eq!(changed(&|manifests| manifests.fault_injections = fault("g")), [""; 0]);
}

#[test]
fn a_consumer_route_touches_the_routes_of_its_namespace_too() {
    let route = parsed(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: bank}\n\
         spec: {parentRefs: [{group: '', kind: Service, name: api, namespace: shop}], rules: [{backendRefs: []}]}"
            .replace("{backendRefs: []}", "{backendRefs: [{name: api, namespace: shop, port: 80}]}")
            .as_str(),
    );
    assert_eq!(
        changed(|manifests| manifests.routes = route.routes),
        [
            "Listener 10.96.0.10:80",
            "Listener [fd00::10]:80",
            "RouteConfiguration shop/api:80",
            "RouteConfiguration shop/api:80@bank"
        ]
    );
}

/// All resources of a mesh by kind, name and who asks: nobody, a client of the namespace `other`, for `inbound` a pod.
fn resources(mesh: &Mesh) -> BTreeMap<(ResourceKind, String, String), Arc<str>> {
    let mut all = BTreeMap::new();
    let anybody = NodeRef { namespace: String::new(), pod: String::new() };
    for kind in ResourceKind::ALL {
        for name in names(mesh, kind).filter(|name| name != INBOUND_LISTENER) {
            let found =
                resource(mesh, kind, &name, &anybody).unwrap_or_else(|| panic!("{} {name} is listed", kind.name()));
            assert!(all.insert((kind, name, String::new()), found.version).is_none());
        }
    }
    let other = NodeRef { namespace: "other".to_owned(), pod: String::new() };
    for name in names(mesh, ResourceKind::Listener).filter(|name| name != INBOUND_LISTENER) {
        let found = resource(mesh, ResourceKind::Listener, &name, &other).unwrap();
        all.insert((ResourceKind::Listener, name, "other".to_owned()), found.version);
    }
    for name in mesh.manifests.pods.keys() {
        let node = NodeRef { namespace: name.namespace.to_string(), pod: name.name.to_string() };
        let found = resource(mesh, ResourceKind::Listener, INBOUND_LISTENER, &node).unwrap();
        all.insert((ResourceKind::Listener, INBOUND_LISTENER.to_owned(), name.to_string()), found.version);
    }
    all
}

fn texts() -> impl Strategy<Value = String> {
    let (address, port) = (0..5u8, prop::sample::select(vec![80u16, 81, 3306]));
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let port_name = prop::sample::select(vec!["http", "tcp", "any"]);
    let service =
        (name.clone(), address.clone(), port.clone(), port_name.clone()).prop_map(|(name, ip, port, kind)| {
            let address = if ip == 4 { "None".to_owned() } else { format!("10.0.0.{ip}") };
            let spec = format!("{{clusterIP: {address}, ports: [{{name: {kind}, port: {port}}}]}}");
            format!("{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: shop}}, spec: {spec}}}")
        });
    let pod = (name.clone(), address.clone(), 0..3u8, any::<bool>()).prop_map(|(name, ip, port, injected)| {
        let inject = if injected { "enabled" } else { "disabled" };
        let metadata = format!("{{name: {name}, namespace: shop, labels: {{weft.dev/inject: {inject}}}}}");
        let container = format!("{{name: x, ports: [{{name: http, containerPort: 808{port}}}]}}");
        let status = format!("{{podIP: 10.0.0.{ip}, podIPs: [{{ip: 'fd00::{ip}'}}]}}");
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {metadata}, spec: {{containers: [{container}]}}, status: {status}}}"
        )
    });
    let slice = (name.clone(), name.clone(), address, 0..3u8, port_name, 0..3u8).prop_map(
        |(name, service, ip, port, kind, state)| {
            let conditions = ["{}", "{ready: false}", "{terminating: true}"][usize::from(state)];
            let metadata =
                format!("{{name: {name}, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}");
            let endpoint = format!("{{addresses: [10.0.0.{ip}], conditions: {conditions}}}");
            format!(
                "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {metadata}, addressType: IPv4, \
                 ports: [{{name: {kind}, port: 808{port}}}], endpoints: [{endpoint}]}}"
            )
        },
    );
    prop_oneof![service, pod, slice, routes(), policies()]
}

/// Routes of all kinds and of two namespaces, with backends and faults that may be there.
fn routes() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let namespace = || prop::sample::select(vec!["shop", "shop", "other"]);
    let kind = prop::sample::select(vec!["HTTPRoute", "HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute"]);
    let port = prop::sample::select(vec![80u16, 81, 3306]);
    (name(), namespace(), kind, name(), name(), namespace(), port, any::<bool>()).prop_map(
        |(name, namespace, kind, parent, backend, backend_namespace, port, faulty)| {
            let hostnames = if kind == "TLSRoute" { "hostnames: [a.b], " } else { "" };
            let filter =
                "filters: [{type: ExtensionRef, extensionRef: {group: weft.dev, kind: FaultInjection, name: a}}], ";
            let filters = if faulty && matches!(kind, "HTTPRoute" | "GRPCRoute") { filter } else { "" };
            let parent = format!("{{group: '', kind: Service, name: {parent}, namespace: shop, port: {port}}}");
            let rule = format!(
                "{{{filters}backendRefs: [{{name: {backend}, namespace: {backend_namespace}, port: {port}}}]}}"
            );
            format!(
                "{{apiVersion: gateway.networking.k8s.io/v1, kind: {kind}, metadata: {{name: {name}, namespace: \
                 {namespace}}}, spec: {{{hostnames}parentRefs: [{parent}], rules: [{rule}]}}}}"
            )
        },
    )
}

/// TrafficPolicies, FaultInjections and ReferenceGrants.
fn policies() -> impl Strategy<Value = String> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let limit = "rateLimit: {local: [{name: l, requests: 1, per: 1s}]}";
    let spec = prop::sample::select(vec!["requests: {timeout: 1s}", "loadBalancer: {algorithm: Random}", limit]);
    let policy = (name(), name(), spec, 1..3u8).prop_map(|(name, target, spec, created)| {
        let metadata = format!("{{name: {name}, namespace: shop, creationTimestamp: '2026-01-0{created}T00:00:00Z'}}");
        let spec = format!("{{targetRefs: [{{kind: Service, name: {target}}}], {spec}}}");
        format!("{{apiVersion: weft.dev/v1alpha1, kind: TrafficPolicy, metadata: {metadata}, spec: {spec}}}")
    });
    let fault = (name(), 500..503u16).prop_map(|(name, status)| {
        let metadata = format!("{{name: {name}, namespace: shop}}");
        format!("{{apiVersion: weft.dev/v1alpha1, kind: FaultInjection, metadata: {metadata}, spec: {{abort: {{httpStatus: {status}}}}}}}")
    });
    let grant = (name(), name()).prop_map(|(name, service)| {
        let from = "{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: other}";
        format!(
            "{{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {{name: {name}, namespace: shop}}, \
             spec: {{from: [{from}], to: [{{group: '', kind: Service, name: {service}}}]}}}}"
        )
    });
    prop_oneof![policy, fault, grant]
}

fn splits() -> impl Strategy<Value = Vec<Split>> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let port = prop::sample::select(vec![0u16, 80, 81]);
    prop::collection::vec((name(), name(), name(), port), 0..2).prop_map(|splits| {
        let split = |(service, one, other, port)| split(service, &[(one, port, 1), (other, 0, 2)]);
        splits.into_iter().map(split).collect()
    })
}

fn entries<K: Clone, T>(table: &Table<K, T>) -> Vec<(K, Arc<T>)> {
    table.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Objects of one kind and name: the last counts, as if it were an edit.
fn manifests(texts: &[String]) -> Manifests {
    let mut all = Manifests::default();
    for text in texts {
        let one = good(text);
        all.services.extend(entries(&one.services));
        all.pods.extend(entries(&one.pods));
        all.endpoint_slices.extend(entries(&one.endpoint_slices));
        all.routes.extend(entries(&one.routes));
        all.traffic_policies.extend(entries(&one.traffic_policies));
        all.fault_injections.extend(entries(&one.fault_injections));
        all.reference_grants.extend(entries(&one.reference_grants));
    }
    all
}

/// Adds what is not there yet.
fn add<K: Ord + Clone, T>(from: &Table<K, T>, to: &mut Table<K, T>) {
    for (name, value) in entries(from) {
        if !to.contains_key(&name) {
            to.insert(name, value);
        }
    }
}

/// What is the same keeps its `Arc`, as the registry does it.
fn share(old: &Manifests, new: &mut Manifests) {
    fn each<K: Ord + Clone, T: PartialEq>(old: &Table<K, T>, new: &mut Table<K, T>) {
        for (name, value) in entries(new) {
            if let Some(same) = old.get(&name).filter(|same| **same == value) {
                new.insert(name, same.clone());
            }
        }
    }
    each(&old.services, &mut new.services);
    each(&old.pods, &mut new.pods);
    each::<_, EndpointSlice>(&old.endpoint_slices, &mut new.endpoint_slices);
    each(&old.routes, &mut new.routes);
    each(&old.traffic_policies, &mut new.traffic_policies);
    each(&old.fault_injections, &mut new.fault_injections);
    each(&old.reference_grants, &mut new.reference_grants);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_differs_but_what_is_told(
        texts in prop::collection::vec(texts(), 4..20),
        edits in prop::collection::vec(texts(), 1..3),
        gone in any::<prop::sample::Index>(),
        old_splits in splits(),
        new_splits in splits(),
        keep_splits in any::<bool>(),
    ) {
        let old = manifests(&texts);
        let mut kept = texts.clone();
        kept.remove(gone.index(texts.len()));
        kept.extend(edits);
        let mut new = manifests(&kept);
        share(&old, &mut new);
        let old_mesh = split_mesh(old, &old_splits);
        let mut new_mesh = split_mesh(new, &new_splits);
        if keep_splits {
            new_mesh.splits = old_mesh.splits.clone();
        }
        let changes = new_mesh.changed(&old_mesh);
        let (old, new) = (resources(&old_mesh), resources(&new_mesh));
        let next = old_mesh.next(&new_mesh.manifests, &new_mesh.splits);
        prop_assert_eq!(&resources(&next), &new, "step by step it is another mesh than at once");
        for (kind, name, pod) in old.keys().chain(new.keys()) {
            let key = (*kind, name.clone(), pod.clone());
            let told = match pod.split_once('/') {
                Some((namespace, pod)) => changes.contains_inbound(namespace, pod),
                None => changes.contains(*kind, name),
            };
            prop_assert!(told || old.get(&key) == new.get(&key), "{} {name} {pod} differs", kind.name());
        }
    }

    #[test]
    fn the_order_of_objects_does_not_matter(texts in prop::collection::vec(texts(), 1..12), splits in splits()) {
        let once = manifests(&texts);
        // Object by object, backwards: what is there already stays, as it was the later one.
        let mut backwards = Manifests::default();
        for text in texts.iter().rev() {
            let one = good(text);
            add(&one.services, &mut backwards.services);
            add(&one.pods, &mut backwards.pods);
            add(&one.endpoint_slices, &mut backwards.endpoint_slices);
            add(&one.routes, &mut backwards.routes);
            add(&one.traffic_policies, &mut backwards.traffic_policies);
            add(&one.fault_injections, &mut backwards.fault_injections);
            add(&one.reference_grants, &mut backwards.reference_grants);
        }
        prop_assert_eq!(resources(&split_mesh(once, &splits)), resources(&split_mesh(backwards, &splits)));
    }
}
