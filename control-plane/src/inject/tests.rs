use std::path::{Path, PathBuf};

use serde_json::json;

use super::manifests::{Edited, Inject, ManifestError, Uninject, edit};
use super::*;

mod properties;

/// A namespace `shop` that asks for sidecars is assumed by the golden files.
fn settings() -> Settings {
    Settings { unless_opted_out: true, ..Settings::new("weft:1", "cluster.local".parse().unwrap()) }
}

fn namespace() -> Namespace {
    Namespace::named("shop")
}

fn injected_text(text: &str) -> Result<Edited, ManifestError> {
    let settings = settings();
    edit(text, "default", &Inject { settings: &settings, probe_token: &|| "T0KEN".to_owned() })
}

fn run(pod: &Value, settings: &Settings) -> Result<Outcome, OptionFaults> {
    inject(Subject { pod, owner: None, namespace: &namespace(), probe_token: "T0KEN" }, settings)
}

fn pod_of(outcome: Result<Outcome, OptionFaults>) -> Value {
    match outcome.unwrap() {
        Outcome::Injected(injected) => injected.pod,
        Outcome::LeftAlone(reason) => panic!("left alone: {reason}"),
    }
}

fn plain() -> Value {
    json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}})
}

fn annotated(annotations: Value) -> Value {
    let mut pod = plain();
    pod["metadata"]["annotations"] = annotations;
    pod
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/inject/golden")
}

/// The manifests of the folder: their names and texts.
fn inputs() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let mut inputs: Vec<_> = entries
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix(".yaml")?.to_owned();
            (!name.ends_with(".injected")).then(|| (name, std::fs::read_to_string(&path).unwrap()))
        })
        .collect();
    inputs.sort();
    inputs
}

/// With `WEFT_GOLDEN=write` in the environment the files are written anew: read the difference before it goes in.
#[test]
fn pods_of_all_kinds_become_what_the_golden_files_say() {
    let inputs = inputs();
    assert!(inputs.len() >= 20, "only {} kinds of pods", inputs.len());
    for (name, text) in inputs {
        let edited = injected_text(&text).unwrap();
        let notes: String = edited.notes.iter().map(|note| format!("# {note}\n")).collect();
        let expected = golden().join(format!("{name}.injected.yaml"));
        let actual = format!("{notes}{}", edited.text);
        if std::env::var("WEFT_GOLDEN").is_ok_and(|value| value == "write") {
            std::fs::write(&expected, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(actual, expected, "{name}");
    }
}

#[test]
fn what_was_injected_is_left_alone_byte_for_byte() {
    for (name, text) in inputs() {
        let once = injected_text(&text).unwrap().text;
        assert_eq!(injected_text(&once).unwrap().text, once, "{name}");
    }
}

#[test]
fn uninjecting_gives_the_same_objects_back() {
    for (name, text) in inputs() {
        let back = edit(&injected_text(&text).unwrap().text, "default", &Uninject).unwrap().text;
        let read = |text: &str| -> Vec<Value> {
            super::manifests::tests::values(text).into_iter().map(without_empty_metadata).collect()
        };
        assert_eq!(read(&back), read(&text), "{name}");
    }
}

/// A template without metadata has an empty one afterwards, which is the same to Kubernetes.
fn without_empty_metadata(mut value: Value) -> Value {
    match &mut value {
        Value::Object(object) => {
            object.retain(|key, value| key != "metadata" || *value != json!({}));
            object.values_mut().for_each(|value| *value = without_empty_metadata(value.take()));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| *value = without_empty_metadata(value.take())),
        _ => {}
    }
    value
}

#[test]
fn all_wrong_annotations_are_told_at_once_with_what_is_allowed() {
    let pod = annotated(json!({
        "weft.dev/mtls": "stric",
        "weft.dev/sidecar": "both",
        "weft.dev/proxy-cpu": "lots",
        "weft.dev/proxy-memory-limit": "-1",
        "weft.dev/log-level": "weft=loud",
        "weft.dev/access-log": "some",
        "weft.dev/skip-outbound-ports": "80,http",
        "weft.dev/skip-inbound-cidrs": "10.0.0.0/33",
        "weft.dev/hold-until-ready": "yes",
        "weft.dev/iptables-legacy": "1",
        "weft.dev/pre-stop-sleep": "1500ms",
        "weft.dev/drain-grace": "2h",
        "weft.dev/trace-sampling": "10",
        "weft.dev/proxy-image": "",
    }));
    let faults = run(&pod, &settings()).unwrap_err().to_string();
    for fault in [
        r#"the pod's annotation weft.dev/mtls: "stric" is not one of strict, permissive"#,
        r#"weft.dev/sidecar: "both" is not one of native, classic"#,
        r#"weft.dev/proxy-cpu: "lots" is not a quantity"#,
        r#"weft.dev/proxy-memory-limit: "-1" is not a quantity such as 100m, 0.5 or 64Mi; none: no limit"#,
        r#"weft.dev/log-level: "weft=loud" is not a log filter"#,
        r#"weft.dev/access-log: "some" is not one of off, errors, all"#,
        r#"weft.dev/skip-outbound-ports: "80,http" is not a list of ports"#,
        r#"weft.dev/skip-inbound-cidrs: "10.0.0.0/33" is not a list of networks"#,
        r#"weft.dev/hold-until-ready: "yes" is not one of true, false"#,
        r#"weft.dev/iptables-legacy: "1" is not one of true, false"#,
        r#"weft.dev/pre-stop-sleep: "1500ms" is not a duration in whole seconds"#,
        r#"weft.dev/drain-grace: "2h" is not a duration"#,
        r#"weft.dev/trace-sampling: "10" is not a share"#,
        r#"weft.dev/proxy-image: "" is not an image's name"#,
    ] {
        assert!(faults.contains(fault), "{fault}\nis missing in\n{faults}");
    }
}

#[test]
fn a_wrong_wish_is_refused_wherever_it_stands() {
    let pod = annotated(json!({"weft.dev/inject": "true"}));
    let fault = run(&pod, &settings()).unwrap_err().to_string();
    assert_eq!(fault, r#"the pod's annotation weft.dev/inject: "true" is not one of enabled, disabled"#);
    let mut namespace = namespace();
    namespace.labels.insert("weft.dev/inject".to_owned(), "on".to_owned());
    let pod = plain();
    let subject = Subject { pod: &pod, owner: None, namespace: &namespace, probe_token: "" };
    assert!(inject(subject, &settings()).unwrap_err().to_string().starts_with("the namespace's label"));
}

#[test]
fn who_does_not_ask_gets_none_from_the_webhook() {
    let settings = Settings { unless_opted_out: false, ..settings() };
    assert_eq!(run(&plain(), &settings), Ok(Outcome::LeftAlone(Reason::NotAsked)));
    let asking = annotated(json!({"weft.dev/inject": "enabled"}));
    assert!(matches!(run(&asking, &settings), Ok(Outcome::Injected(_))));
}

#[test]
fn an_old_cluster_gets_classic_sidecars_and_no_sleep() {
    let old = Settings { cluster: Cluster::of_version("1", "28+"), ..settings() };
    let pod = pod_of(run(&plain(), &old));
    assert_eq!(pod["spec"]["containers"][0]["name"], PROXY_CONTAINER);
    assert_eq!(pod["spec"]["containers"][1].get("lifecycle"), None);
    let fault = run(&annotated(json!({"weft.dev/sidecar": "native"})), &old).unwrap_err().to_string();
    assert!(fault.contains("need Kubernetes 1.29; allowed is classic"), "{fault}");
    assert_eq!(Cluster::of_version("1", "29"), Cluster { native_sidecars: true, sleep_action: false });
    assert_eq!(Cluster::of_version("1", "36"), Cluster::CURRENT);
}

#[test]
fn defaults_of_the_mesh_are_checked_by_themselves() {
    let defaults = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    assert_eq!(check_options(&defaults(&[("log-level", "debug"), ("proxy-cpu", "1")])), Ok(()));
    let faults = check_options(&defaults(&[("loglevel", "debug"), ("access-log", "yes")])).unwrap_err().to_string();
    assert!(faults.contains("the mesh's default loglevel: \"debug\" is for no option"), "{faults}");
    assert!(faults.contains("the mesh's default weft.dev/access-log: \"yes\" is not one of"), "{faults}");
}

#[test]
fn the_pod_wins_over_its_namespace_and_that_over_the_mesh() {
    let mut settings = settings();
    settings.defaults.insert("log-level".to_owned(), "error".to_owned());
    let mut namespace = namespace();
    let level = |pod: &Value, namespace: &Namespace| {
        let subject = Subject { pod, owner: None, namespace, probe_token: "" };
        let pod = pod_of(inject(subject, &settings));
        let env = pod["spec"]["initContainers"][1]["env"].as_array().unwrap().clone();
        env.iter().find(|variable| variable["name"] == "WEFT_LOG").unwrap()["value"].as_str().unwrap().to_owned()
    };
    assert_eq!(level(&plain(), &namespace), "error");
    namespace.annotations.insert("weft.dev/log-level".to_owned(), "warn".to_owned());
    assert_eq!(level(&plain(), &namespace), "warn");
    assert_eq!(level(&annotated(json!({"weft.dev/log-level": "debug"})), &namespace), "debug");
}

#[test]
fn weft_init_may_open_raw_sockets_only_where_iptables_legacy_is_allowed() {
    let init = |pod: &Value| pod_of(run(pod, &settings()))["spec"]["initContainers"][0].clone();
    let added = |container: &Value| container["securityContext"]["capabilities"]["add"].clone();
    let plain = init(&plain());
    assert_eq!((added(&plain), plain.get("env")), (json!(["NET_ADMIN"]), None));
    assert_eq!(init(&annotated(json!({"weft.dev/iptables-legacy": "false"}))), plain);
    let legacy = init(&annotated(json!({"weft.dev/iptables-legacy": "true"})));
    assert_eq!(added(&legacy), json!(["NET_ADMIN", "NET_RAW"]));
    assert_eq!(legacy["env"], json!([{"name": "XTABLES_LOCKFILE", "value": "/dev/shm/weft-init.lock"}]));
    assert_eq!(legacy["securityContext"]["readOnlyRootFilesystem"], json!(true));
}

#[test]
fn a_text_that_kubernetes_would_expand_is_escaped_and_comes_back() {
    let mut pod = plain();
    pod["spec"]["containers"][0]["livenessProbe"] = json!({"httpGet": {"path": "/$(WEFT_POD_NAME)", "port": 80}});
    let injected = pod_of(run(&pod, &settings()));
    assert!(injected.to_string().contains("/$$(WEFT_POD_NAME)"));
    assert_eq!(uninject(&injected).unwrap(), pod);
}

#[test]
fn an_unreadable_document_is_named_by_its_line() {
    let error = injected_text("kind: Pod\n---\n# two\nkind: [\n").unwrap_err().to_string();
    assert!(error.starts_with("the document that begins at line 4 can't be read"), "{error}");
    let error = injected_text("kind: Pod\nmetadata: {name: a, annotations: {weft.dev/mtls: x}}\n").unwrap_err();
    assert!(error.to_string().starts_with("Pod default/a: the pod's annotation weft.dev/mtls"), "{error}");
}

#[test]
fn json_stays_json() {
    let text = r#"{"kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "a"}]}}"#;
    let edited = injected_text(text).unwrap().text;
    assert!(edited.starts_with("{\n") && edited.ends_with("}\n"), "{edited}");
    assert_eq!(serde_json::from_str::<Value>(&edited).unwrap()["kind"], "Pod");
}
