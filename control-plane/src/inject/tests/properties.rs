//! What holds for every pod, also for those that nobody has thought of.

use proptest::prelude::*;

use super::*;

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z0-9:./ -]{0,12}".prop_map(Value::from),
    ]
}

/// Fields that Weft has never heard of.
fn unknown() -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::vec(("x[a-zA-Z]{1,8}", scalar()), 0..4).prop_map(|pairs| pairs.into_iter().collect())
}

fn port() -> impl Strategy<Value = Value> {
    prop_oneof![(1..=65535u16).prop_map(Value::from), Just(json!("http")), Just(json!("nowhere"))]
}

fn handler() -> impl Strategy<Value = Value> {
    prop_oneof![
        (port(), "/[a-z]{0,8}").prop_map(|(port, path)| json!({"httpGet": {"path": path, "port": port}})),
        port().prop_map(|port| json!({"tcpSocket": {"port": port}})),
        port().prop_map(|port| json!({"httpGet": {"host": "elsewhere", "port": port}})),
        (1..=65535u16).prop_map(|port| json!({"grpc": {"port": port, "service": null}})),
        Just(json!({"exec": {"command": ["true"]}})),
    ]
}

fn container() -> impl Strategy<Value = Value> {
    let handler = || proptest::option::of(handler());
    (unknown(), handler(), handler(), handler(), proptest::option::of(Just("Always"))).prop_map(
        |(mut container, liveness, readiness, pre_stop, policy)| {
            container.insert("ports".to_owned(), json!([{"name": "http", "containerPort": 8080}]));
            let mut put = |key: &str, value: Option<Value>| {
                value.map(|value| container.insert(key.to_owned(), value));
            };
            put("livenessProbe", liveness);
            put("readinessProbe", readiness);
            put("lifecycle", pre_stop.map(|handler| json!({"preStop": handler})));
            put("restartPolicy", policy.map(Value::from));
            Value::Object(container)
        },
    )
}

fn named(list: Vec<Value>, prefix: &str) -> Value {
    let named = list.into_iter().enumerate().map(|(number, mut container)| {
        container["name"] = json!(format!("{prefix}{number}"));
        container
    });
    named.collect()
}

prop_compose! {
    fn any_pod()(
        mut spec in unknown(),
        containers in proptest::collection::vec(container(), 1..4),
        before in proptest::collection::vec(container(), 1..3),
        with_before in any::<bool>(),
        policy in proptest::option::of(prop_oneof![Just("Always"), Just("Never"), Just("OnFailure")]),
        grace in proptest::option::of(0..100u32),
        sidecar in proptest::option::of(prop_oneof![Just("native"), Just("classic")]),
        labels in unknown(),
    ) -> Value {
        spec.insert("containers".to_owned(), named(containers, "app"));
        if with_before {
            spec.insert("initContainers".to_owned(), named(before, "before"));
        }
        if let Some(policy) = policy {
            spec.insert("restartPolicy".to_owned(), json!(policy));
        }
        if let Some(grace) = grace {
            spec.insert("terminationGracePeriodSeconds".to_owned(), json!(grace));
        }
        let mut metadata = json!({"name": "any", "labels": labels});
        if let Some(sidecar) = sidecar {
            metadata["annotations"] = json!({"weft.dev/sidecar": sidecar});
        }
        json!({"metadata": metadata, "spec": spec, "status": {"kept": true}})
    }
}

proptest! {
    #[test]
    fn injecting_twice_is_injecting_once(pod in any_pod()) {
        let once = pod_of(run(&pod, &settings()));
        prop_assert_eq!(run(&once, &settings()), Ok(Outcome::LeftAlone(Reason::AlreadyInjected)));
    }

    #[test]
    fn uninjecting_gives_every_field_back(pod in any_pod()) {
        let injected = pod_of(run(&pod, &settings()));
        prop_assert_eq!(uninject(&injected), Some(pod));
    }

    #[test]
    fn the_patch_that_the_api_server_gets_makes_the_injected_pod(pod in any_pod()) {
        let injected = pod_of(run(&pod, &settings()));
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &json_patch::diff(&pod, &injected)).unwrap();
        prop_assert_eq!(patched, injected);
    }

    #[test]
    fn no_probe_asks_the_application_over_the_network(pod in any_pod()) {
        let injected = pod_of(run(&pod, &settings()));
        let asks_a_port = |probe: &Value| {
            let asked = probe.get("httpGet").or(probe.get("tcpSocket")).or(probe.get("grpc"));
            asked.is_some_and(|asked| {
                asked["port"] != 15020 && asked["port"] != "nowhere" && asked["host"] != "elsewhere"
            })
        };
        let beside = pod::containers(&injected, "containers").iter();
        for container in beside.chain(pod::containers(&injected, "initContainers").iter().filter(|container| container["restartPolicy"] == "Always")) {
            for (path, kind) in probes::HANDLERS {
                let probe = pod::at(container, path);
                prop_assert!(!probe.is_some_and(asks_a_port), "{kind} of {container}");
            }
        }
    }

    #[test]
    fn what_is_written_is_read_as_the_same(pod in any_pod()) {
        let manifest = json!({"kind": "Pod", "metadata": pod["metadata"], "spec": pod["spec"]});
        let text = serde_saphyr::to_string(&manifest).unwrap();
        let edited = injected_text(&text).unwrap().text;
        let back = edit(&edited, "default", &Uninject).unwrap().text;
        prop_assert_eq!(manifests::tests::values(&back), vec![manifest]);
    }
}
