use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weft_api::status::{Proxy, Resource};

use super::*;

fn states(look: impl FnOnce(&mut Findings)) -> Vec<State> {
    let mut findings = Findings::default();
    look(&mut findings);
    findings.0.iter().map(|finding| finding.state).collect()
}

#[test]
fn versions_that_are_too_old_or_lack_native_sidecars_are_told() {
    let state = |minor: &str| states(|findings| before::versions(minor, findings));
    assert_eq!(state("26"), [State::Bad]);
    assert_eq!(state("27+"), [State::Warning]);
    assert_eq!(state("36"), [State::Good]);
    assert_eq!(state(""), [State::Bad]);
}

#[test]
fn dates_of_http_are_read() {
    let date = before::parse_http_date("Tue, 24 Nov 2026 02:25:27 GMT").unwrap();
    assert_eq!(humantime::format_rfc3339_seconds(date).to_string(), "2026-11-24T02:25:27Z");
    assert_eq!(before::parse_http_date("yesterday"), None);
    let state =
        |apart| states(|findings| before::clocks(UNIX_EPOCH + Duration::from_secs(apart), UNIX_EPOCH, findings));
    assert_eq!((state(10), state(300)), (vec![State::Good], vec![State::Warning]));
}

#[test]
fn namespaces_that_refuse_pods_with_sidecars_are_named() {
    let namespace = |name: &str, labels: &[(&str, &str)]| {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let value = serde_json::json!({"metadata": {"name": name, "labels": labels}});
        serde_json::from_value::<k8s_openapi::api::core::v1::Namespace>(value).unwrap()
    };
    let (inject, enforce) = (("weft.dev/inject", "enabled"), "pod-security.kubernetes.io/enforce");
    let mut findings = Findings::default();
    let refusing = [
        namespace("shop", &[inject, (enforce, "baseline")]),
        namespace("free", &[inject, (enforce, "privileged")]),
        namespace("bank", &[inject, (enforce, "restricted")]),
    ];
    before::labelled(&refusing, &mut findings);
    let [finding] = findings.0.as_slice() else { panic!("{findings:?}") };
    assert_eq!(finding.state, State::Bad);
    assert!(finding.found.contains("in shop (baseline), bank (restricted): weft-init needs NET_ADMIN"), "{finding:?}");
    assert_eq!(finding.docs.as_deref(), Some(format!("{DOCS}#pod-security").as_str()));
    let allowing = [
        namespace("without", &[(enforce, "restricted")]),
        namespace("out", &[("weft.dev/inject", "disabled"), (enforce, "restricted")]),
        namespace("warned", &[inject, ("pod-security.kubernetes.io/warn", "restricted")]),
    ];
    assert_eq!(states(|findings| before::labelled(&allowing, findings)), [State::Good]);
}

#[test]
fn certificates_are_told_before_they_end() {
    let now = SystemTime::now();
    let day = Duration::from_secs(86_400);
    let state = |end| states(|findings| installed::certificate("certificates", "it", end, day, "renew it", findings));
    assert_eq!(state(now + day * 3), [State::Good]);
    assert_eq!(state(now + day / 2), [State::Warning]);
    assert_eq!(state(now - day), [State::Bad]);
}

#[test]
fn pods_that_were_there_before_the_label_are_told() {
    let pod = |value: serde_json::Value| serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(value).unwrap();
    let with = pod(serde_json::json!({"spec": {"containers": [], "initContainers": [{"name": "weft-proxy"}]}}));
    let without = pod(serde_json::json!({"spec": {"containers": [{"name": "app"}]}}));
    let out =
        pod(serde_json::json!({"metadata": {"labels": {"weft.dev/inject": "disabled"}}, "spec": {"containers": []}}));
    let ended = pod(serde_json::json!({"spec": {"containers": []}, "status": {"phase": "Succeeded"}}));
    let state = |pods: &[_]| states(|findings| installed::sidecars("shop", pods, findings));
    assert_eq!(state(&[with.clone(), out, ended]), [State::Good]);
    assert_eq!(state(&[with, without]), [State::Warning]);
}

#[test]
fn proxies_that_are_behind_or_of_another_version_are_told() {
    let proxy = |node: &str, version: &str, stale_seconds| Proxy {
        node: node.to_owned(),
        version: version.to_owned(),
        resources: vec![Resource { stale_seconds, ..Resource::default() }],
        ..Proxy::default()
    };
    let good = proxy("a.shop", "0.1.0", 0);
    assert_eq!(states(|findings| mesh::in_sync(std::slice::from_ref(&good), findings)), [State::Good]);
    assert_eq!(states(|findings| mesh::in_sync(&[proxy("b.shop", "0.1.0", 60)], findings)), [State::Warning]);
    assert_eq!(states(|findings| mesh::versions(&[good.clone(), good.clone()], findings)), [State::Good]);
    assert_eq!(states(|findings| mesh::versions(&[good, proxy("b.shop", "0.2.0", 0)], findings)), [State::Warning]);
}

#[test]
fn each_finding_has_a_next_step_and_a_place_in_the_docs() {
    let mut findings = Findings::default();
    findings.good("api server", "v1.36.3");
    findings.bad("pod security", "pods are refused", "label it");
    assert_eq!(
        show(&findings),
        format!(
            "ok    api server: v1.36.3\nBAD   pod security: pods are refused\n        next: label it\n        docs: \
             {DOCS}#pod-security\n\n2 checks: 1 bad, 0 to look at"
        )
    );
    assert_eq!(findings.worst(), State::Bad);
}
