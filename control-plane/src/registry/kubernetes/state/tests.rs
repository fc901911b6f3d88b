use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::registry::kubernetes::object::Raw;

fn raw(object: &Value) -> Raw {
    serde_json::from_value(object.clone()).unwrap()
}

fn pod(name: &str, address: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "status": {"podIP": address}})
}

fn read(kind: Kind, object: &Value) -> Read {
    Read::of(kind, &raw(object))
}

/// A state, and what was said to it.
#[derive(Default)]
struct World(State);

impl World {
    fn list(&mut self, kind: Kind, objects: &[Value]) -> Changes {
        self.0.take(Message::Begin(kind));
        objects.iter().for_each(|object| self.0.take(Message::Listed(kind, read(kind, object))));
        self.0.take(Message::Done(kind));
        self.0.changes()
    }

    fn apply(&mut self, kind: Kind, object: &Value) -> Changes {
        self.0.take(Message::Applied(kind, read(kind, object)));
        self.0.changes()
    }

    fn pods(&self) -> Vec<String> {
        let shown = |pod: &Arc<crate::mesh::Pod>| format!("{} {:?}", pod.name.name, pod.addresses);
        self.0.manifests().pods.values().map(shown).collect()
    }

    fn faults(&self) -> Vec<String> {
        self.0.faults().iter().map(ToString::to_string).collect()
    }
}

#[test]
fn a_kind_that_is_listed_anew_keeps_what_did_not_change() {
    let mut world = World::default();
    let changes = world.list(Kind::Pod, &[pod("a", "10.0.0.1"), pod("b", "10.0.0.2")]);
    assert!(changes.objects && world.0.was_read(Kind::Pod) && !world.0.was_read(Kind::Service));
    let before = world.0.manifests().clone();
    let changes = world.list(Kind::Pod, &[pod("b", "10.0.0.2"), pod("a", "10.0.0.1")]);
    assert_eq!(changes, Changes::default());
    world.list(Kind::Pod, &[pod("b", "10.0.0.3"), pod("a", "10.0.0.1"), pod("c", "10.0.0.4")]);
    let key = ObjectName::new("shop", "a");
    assert!(Arc::ptr_eq(before.pods.get(&key).unwrap(), world.0.manifests().pods.get(&key).unwrap()));
    assert_eq!(world.pods(), ["a [10.0.0.1]", "b [10.0.0.3]", "c [10.0.0.4]"]);
    assert!(world.list(Kind::Pod, &[pod("c", "10.0.0.4")]).objects);
    assert_eq!(world.pods(), ["c [10.0.0.4]"]);
}

#[test]
fn a_list_that_is_not_done_changes_nothing() {
    let mut world = World::default();
    world.list(Kind::Pod, &[pod("a", "10.0.0.1")]);
    world.0.take(Message::Begin(Kind::Pod));
    world.0.take(Message::Listed(Kind::Pod, read(Kind::Pod, &pod("b", "10.0.0.2"))));
    assert_eq!((world.pods(), world.0.changes()), (vec!["a [10.0.0.1]".to_owned()], Changes::default()));
    // Another begin forgets it.
    world.list(Kind::Pod, &[pod("c", "10.0.0.3")]);
    assert_eq!(world.pods(), ["c [10.0.0.3]"]);
}

#[test]
fn objects_come_change_and_go() {
    let mut world = World::default();
    assert!(world.apply(Kind::Pod, &pod("a", "10.0.0.1")).objects);
    assert_eq!(world.apply(Kind::Pod, &pod("a", "10.0.0.1")), Changes::default());
    assert!(world.apply(Kind::Pod, &pod("a", "10.0.0.2")).objects);
    assert_eq!(world.pods(), ["a [10.0.0.2]"]);
    world.0.take(Message::Deleted(Kind::Pod, ObjectName::new("shop", "a")));
    assert!(world.0.changes().objects);
    assert!(world.pods().is_empty());
}

#[test]
fn the_last_good_state_of_an_object_stays_also_when_all_are_listed_anew() {
    let mut world = World::default();
    world.list(Kind::Pod, &[pod("a", "10.0.0.1")]);
    let changes = world.apply(Kind::Pod, &pod("a", "x"));
    assert_eq!(changes, Changes { objects: false, others: true });
    let fault = "Pod shop/a: status.podIP: \"x\" is not an IP address; its last good state stays in force";
    assert_eq!((world.pods(), world.faults()), (vec!["a [10.0.0.1]".to_owned()], vec![fault.to_owned()]));
    assert_eq!(world.list(Kind::Pod, &[pod("a", "x")]), Changes::default());
    assert_eq!(world.pods(), ["a [10.0.0.1]"]);
    world.list(Kind::Pod, &[pod("b", "x")]);
    assert_eq!(world.faults(), ["Pod shop/b: status.podIP: \"x\" is not an IP address; the object is left out"]);
}

#[test]
fn faults_and_conflicts_name_the_object_and_its_generation() {
    let route = |generation: i64, port: u32| {
        json!({
            "metadata": {"name": "api", "namespace": "shop", "generation": generation},
            "spec": {
                "parentRefs": [{"group": "", "kind": "Service", "name": "api"}],
                "rules": [{"backendRefs": [{"name": "api-v1", "port": port}]}],
            },
        })
    };
    let mut world = World::default();
    let kind = Kind::Route(crate::mesh::RouteKind::Http);
    let changes = world.apply(kind, &route(1, 80));
    assert!(changes.objects && changes.others);
    let conflicts = world.0.faults();
    let about = |generation| ObjectRef { kind: "HTTPRoute", name: ObjectName::new("shop", "api"), generation };
    assert!(conflicts.iter().all(|fault| fault.object == Some(about(1))), "{conflicts:?}");
    assert!(conflicts.iter().any(|fault| fault.to_string().contains("there is no Service shop/api-v1")));
    assert_eq!(world.apply(kind, &route(2, 80)), Changes { objects: false, others: true });
    let generations = world.0.generations();
    assert_eq!(generations.into_iter().collect::<Vec<_>>(), [(("HTTPRoute", ObjectName::new("shop", "api")), 2)]);
    world.apply(kind, &route(3, 70_000));
    assert!(world.0.faults().iter().any(|fault| fault.object == Some(about(3)) && fault.message.contains("70000")));
}

#[test]
fn objects_without_a_namespace_are_kept_by_their_name() {
    let mut world = World::default();
    let node = json!({"metadata": {"name": "n.1", "labels": {"topology.kubernetes.io/zone": "z1"}}});
    let metadata = json!({
        "name": "shop", "labels": {"weft.dev/inject": "enabled", "team": "x"}, "deletionTimestamp": "2026-01-01T00:00:00Z"
    });
    world.apply(Kind::Node, &node);
    world.apply(Kind::Namespace, &json!({"metadata": metadata}));
    let manifests = world.0.manifests();
    assert_eq!(manifests.nodes.get("n.1").unwrap().zone.as_ref(), "z1");
    let shop = manifests.namespaces.get("shop").unwrap();
    assert_eq!((shop.labels.len(), shop.terminating), (1, true));
    world.0.take(Message::Deleted(Kind::Node, ObjectName::new("", "n.1")));
    assert!(world.0.manifests().nodes.is_empty());
}
