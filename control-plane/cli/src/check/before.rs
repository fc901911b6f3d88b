//! What has to hold before an installation, and still has to after.

use std::time::{Duration, SystemTime};

use http::Request;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams, PostParams};
use kube::client::Body;

use super::{Findings, State};
use crate::cluster::{Cluster, within};

/// The oldest minor version of Kubernetes 1 that the chart takes, and the first with native sidecars.
const OLDEST: u32 = 27;
const NATIVE: u32 = 29;
/// Tokens and certificates stand this much.
const CLOCK: Duration = Duration::from_secs(30);
/// What the kinds of the Gateway API are that Weft reads.
const ROUTES: [&str; 5] = ["httproutes", "grpcroutes", "tlsroutes", "tcproutes", "referencegrants"];

/// Looks at the cluster.
///
/// # Errors
/// When its API server does not answer at all.
pub(super) async fn look(cluster: &Cluster, findings: &mut Findings) -> anyhow::Result<()> {
    let version = within(cluster.client.apiserver_version()).await.map_err(|error| cluster.unanswered(&error))?;
    findings.good("api server", format!("context {}, {}", cluster.context(), version.git_version));
    versions(&version.minor, findings);
    clock(cluster, findings).await;
    gateway_api(cluster, findings).await;
    namespaces(cluster, findings).await;
    network(cluster, findings).await;
    Ok(())
}

pub(super) fn versions(minor: &str, findings: &mut Findings) {
    let minor: u32 = minor.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or_default();
    let (topic, is) = ("kubernetes version", format!("1.{minor}"));
    match minor {
        0..OLDEST => {
            findings.bad(topic, format!("{is} is too old"), format!("upgrade the cluster to 1.{OLDEST} or newer"))
        }
        OLDEST..NATIVE => findings.warning(
            topic,
            format!("{is} has no native sidecars: proxies are ordinary containers, and Jobs do not end by themselves"),
            format!("upgrade to 1.{NATIVE} or newer when you can"),
        ),
        _ => findings.good(topic, format!("{is}, with native sidecars")),
    }
}

async fn clock(cluster: &Cluster, findings: &mut Findings) {
    let topic = "clock";
    let Ok(request) = Request::get("/version").body(Body::empty()) else { return };
    let began = SystemTime::now();
    let answer = match within(cluster.client.send(request)).await {
        Ok(answer) => answer,
        Err(error) => return findings.untold(topic, &error),
    };
    let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
    let theirs = date.and_then(parse_http_date);
    match theirs {
        Some(theirs) => clocks(theirs, began, findings),
        None => findings.warning(topic, "the API server does not tell its time", "compare its clock with yours"),
    }
}

pub(super) fn clocks(theirs: SystemTime, ours: SystemTime, findings: &mut Findings) {
    let apart = theirs.duration_since(ours).or_else(|_| ours.duration_since(theirs)).unwrap_or_default();
    let found = format!("the API server's differs from this machine's by {} s", apart.as_secs());
    match apart <= CLOCK {
        true => findings.good("clock", found),
        false => findings.warning("clock", found, "set the clocks by NTP: certificates and tokens depend on them"),
    }
}

/// An IMF-fixdate (RFC 9110, section 5.6.7).
pub(super) fn parse_http_date(text: &str) -> Option<SystemTime> {
    let mut parts = text.split_whitespace().skip(1);
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

async fn gateway_api(cluster: &Cluster, findings: &mut Findings) {
    let topic = "gateway api";
    let crds: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let mut missing = Vec::new();
    let mut bundle = None;
    for kind in ROUTES {
        match within(crds.get_opt(&format!("{kind}.gateway.networking.k8s.io"))).await {
            Ok(Some(crd)) => {
                let version = crd
                    .metadata
                    .annotations
                    .and_then(|all| all.get("gateway.networking.k8s.io/bundle-version").cloned());
                bundle = bundle.or(version);
            }
            Ok(None) => missing.push(kind),
            Err(error) => return findings.untold(topic, &error),
        }
    }
    let next = "install the Gateway API's definitions, experimental channel, v1.2 or newer; without it traffic is not routed by those kinds";
    match missing.as_slice() {
        [] => findings.good(topic, format!("installed, {}", bundle.as_deref().unwrap_or("of unknown version"))),
        all if all.len() == ROUTES.len() => {
            findings.warning(topic, "not installed: no routes, no traffic splits", next)
        }
        some => findings.warning(topic, format!("{} are not installed", some.join(", ")), next),
    }
}

async fn namespaces(cluster: &Cluster, findings: &mut Findings) {
    let all: Api<Namespace> = Api::all(cluster.client.clone());
    match within(all.list(&ListParams::default())).await {
        Ok(all) => labelled(&all.items, findings),
        Err(error) => findings.untold("pod security", &error),
    }
}

/// What namespaces with sidecars forbid, and who else is there.
pub(super) fn labelled(all: &[Namespace], findings: &mut Findings) {
    let topic = "pod security";
    let label = |namespace: &Namespace, key: &str| {
        namespace.metadata.labels.as_ref().and_then(|labels| labels.get(key).cloned()).unwrap_or_default()
    };
    let mut forbidding = Vec::new();
    for namespace in all {
        let enforced = label(namespace, "pod-security.kubernetes.io/enforce");
        let injected = label(namespace, "weft.dev/inject") == "enabled";
        let name = namespace.metadata.name.clone().unwrap_or_default();
        if injected && matches!(enforced.as_str(), "baseline" | "restricted") {
            forbidding.push(format!("{name} ({enforced})"));
        }
        let other = match () {
            () if label(namespace, "istio-injection") == "enabled" => "Istio",
            () if label(namespace, "linkerd.io/inject") == "enabled" => "Linkerd",
            () => continue,
        };
        if injected {
            let found = format!("namespace {name} has sidecars of {other}, too");
            findings.bad("other meshes", found, format!("take away the label of one of the two from namespace {name}"));
        }
    }
    match forbidding.is_empty() {
        true => findings.good(topic, "no namespace with sidecars forbids what weft-init needs"),
        false => findings.bad(
            topic,
            format!("pods with sidecars are refused in {}: weft-init needs NET_ADMIN", forbidding.join(", ")),
            "label these namespaces pod-security.kubernetes.io/enforce=privileged, and hold the pods to more by an admission policy",
        ),
    }
}

/// Networks that are known to need a setting.
async fn network(cluster: &Cluster, findings: &mut Findings) {
    let topic = "cni";
    let all: Api<DaemonSet> = Api::all(cluster.client.clone());
    let sets = match within(all.list(&ListParams::default())).await {
        Ok(sets) => sets.items,
        Err(error) => return findings.untold(topic, &error),
    };
    let has = |part: &str| sets.iter().any(|set| set.metadata.name.as_deref().is_some_and(|name| name.contains(part)));
    if has("cilium") {
        findings.warning(
            topic,
            "Cilium: where it replaces kube-proxy, it rewrites addresses before the sidecar sees them",
            "set socketLB.hostNamespaceOnly=true in Cilium's chart, and cni.exclusive=false",
        );
    } else if has("istio-cni") {
        findings.warning(topic, "Istio's CNI plugin is there", "leave namespaces with weft.dev/inject out of Istio");
    } else {
        findings.good(topic, "nothing is known to be in the way");
    }
}

/// What whoever installs has to be allowed to do.
pub(super) async fn look_for_rights(cluster: &Cluster, findings: &mut Findings) {
    let topic = "permissions";
    let rights = [
        ("", "namespaces"),
        ("", "serviceaccounts"),
        ("", "services"),
        ("apps", "deployments"),
        ("rbac.authorization.k8s.io", "clusterroles"),
        ("rbac.authorization.k8s.io", "clusterrolebindings"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ];
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let mut refused = Vec::new();
    for (group, resource) in rights {
        let attributes = ResourceAttributes {
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            verb: Some("create".to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..<_>::default() };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        match within(reviews.create(&PostParams::default(), &review)).await {
            Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => {}
            Ok(_) => refused.push(resource),
            Err(error) => return findings.untold(topic, &error),
        }
    }
    match refused.is_empty() {
        true => findings.good(topic, "you may create all that the chart has"),
        false => findings.bad(
            topic,
            format!("you may not create {}", refused.join(", ")),
            "install as a cluster administrator",
        ),
    }
    match crate::install::helm(&["version", "--short"]) {
        Ok(output) => findings.good("helm", String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        Err(error) => {
            let found = error.to_string().lines().next().unwrap_or_default().to_owned();
            findings.add(State::Bad, "helm", found, "install Helm 3.14 or newer".to_owned());
        }
    }
}
