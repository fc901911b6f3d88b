use super::*;

fn api() -> ObjectName {
    ObjectName::new("shop", "api")
}

fn backend(service: &str, port: Option<u16>, weight: u32) -> SplitBackend {
    SplitBackend { service: service.into(), port, weight }
}

/// As the API server answers: with defaults filled in.
fn stored(new: &NewRoute, generation: i64) -> DynamicObject {
    let mut object = new.object.clone();
    object.metadata.generation = Some(generation);
    (object.metadata.uid, object.metadata.resource_version) = (Some("u1".to_owned()), Some("77".to_owned()));
    let rule = object.data.pointer_mut("/spec/rules/0").unwrap();
    rule["matches"] = json!([{"path": {"type": "PathPrefix", "value": "/"}}]);
    for to in rule["backendRefs"].as_array_mut().unwrap() {
        (to["group"], to["kind"]) = ("".into(), "Service".into());
    }
    object
}

fn split(object: &DynamicObject) -> Result<SplitRoute, NoSplit> {
    read(&object.metadata, &object.data["spec"])
}

#[test]
fn a_split_is_read_as_it_was_written() {
    let backends = [(backend("api-v1", None, 90), 80), (backend("api-v2", Some(80), 10), 80)];
    let new = NewRoute::new(&api(), &backends, None, 4);
    assert_eq!(new.version, 5);
    let route = split(&stored(&new, 1)).unwrap();
    assert_eq!((route.service.clone(), route.version), (api(), 5));
    assert_eq!(route.backends, backends.map(|(to, _)| to));
}

#[test]
fn each_write_gives_a_higher_version_also_where_nothing_changes() {
    let weights = |one, two| [(backend("api-v1", None, one), 80), (backend("api-v2", None, two), 80)];
    let route = split(&stored(&NewRoute::new(&api(), &weights(90, 10), None, 0), 1)).unwrap();
    let changed = NewRoute::new(&api(), &weights(80, 20), Some(&route), 9);
    assert_eq!((changed.version, split(&stored(&changed, 2)).unwrap().version), (2, 2));
    let same = NewRoute::new(&api(), &weights(90, 10), Some(&route), 9);
    assert_eq!((same.version, split(&stored(&same, 1)).unwrap().version), (2, 2));
    assert_eq!(same.object.metadata.resource_version.as_deref(), Some("77"));
}

#[test]
fn weights_that_somebody_edits_are_in_force() {
    let mut object = stored(&NewRoute::new(&api(), &[(backend("api-v1", None, 90), 80)], None, 0), 2);
    let rule = object.data.pointer_mut("/spec/rules/0").unwrap();
    rule["name"] = "mine".into();
    rule["backendRefs"] = json!([{"name": "api-v1", "port": 80, "weight": 3}, {"name": "api-v3", "port": 81}]);
    let route = split(&object).unwrap();
    assert_eq!(route.backends, [backend("api-v1", None, 3), backend("api-v3", Some(81), 1)]);
    assert_eq!(route.version, 2);
    let next = NewRoute::new(&api(), &[(backend("api-v1", None, 1), 80)], Some(&route), 2);
    assert_eq!(next.object.data.pointer("/spec/rules/0/name"), Some(&json!("mine")));
}

#[test]
fn what_says_more_than_shares_is_no_split() {
    let plain = stored(&NewRoute::new(&api(), &[(backend("api-v1", None, 90), 80)], None, 0), 1);
    let with = |at: &str, key: &str, value: Value| {
        let mut object = plain.clone();
        object.data.pointer_mut(at).unwrap()[key] = value;
        split(&object).unwrap_err().0
    };
    let rule = "/spec/rules/0";
    let filters = json!([{"type": "RequestMirror"}]);
    for (message, part) in [
        (with(rule, "matches", json!([{"path": {"type": "Exact", "value": "/a"}}])), "matches"),
        (with(rule, "filters", filters.clone()), "has filters"),
        (with(rule, "timeouts", json!({"request": "1s"})), "has timeouts"),
        (with("/spec/rules/0/backendRefs/0", "filters", filters), "api-v1 is more"),
        (with("/spec/rules/0/backendRefs/0", "namespace", json!("other")), "api-v1 is more"),
        (with("/spec/parentRefs/0", "port", json!(80)), "one port"),
        (with("/spec/parentRefs/0", "name", json!("web")), "not Service api"),
        (with("/spec", "hostnames", json!(["a.b"])), "more than parentRefs"),
        (with("/spec", "rules", json!([])), "just one rule"),
    ] {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
    let mut unlabelled = plain.clone();
    unlabelled.metadata.labels = None;
    assert!(split(&unlabelled).unwrap_err().0.contains("no label"));
    let mut renamed = plain;
    renamed.metadata.name = Some("mine".to_owned());
    assert!(split(&renamed).unwrap_err().0.contains("its own name"));
}
