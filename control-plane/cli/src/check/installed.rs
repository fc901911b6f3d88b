//! What the chart and the control plane made.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use weft_certs::bundle;

use super::Findings;
use crate::cluster::{CONTROL, Cluster, within};
use crate::install::crd_names;
use crate::uninstall::has_proxy;

/// A certificate of the CA is worth a word before it ends.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// Webhooks' certificates are renewed long before.
const WEBHOOK_SOON: Duration = Duration::from_secs(3600);
/// A leader renews every two seconds.
const LEASE_AGE: Duration = Duration::from_secs(30);

/// Looks at all of it.
pub(super) async fn look(cluster: &Cluster, findings: &mut Findings) {
    deployment(cluster, findings).await;
    crds(cluster, findings).await;
    webhooks(cluster, findings).await;
    authority(cluster, findings).await;
    leader(cluster, findings).await;
    namespaces(cluster, findings).await;
}

async fn deployment(cluster: &Cluster, findings: &mut Findings) {
    let (topic, namespace) = ("control plane", &cluster.namespace);
    let deployments: Api<Deployment> = Api::namespaced(cluster.client.clone(), namespace);
    let deployment = match within(deployments.get_opt(CONTROL)).await {
        Ok(Some(deployment)) => deployment,
        Ok(None) => {
            let found = format!("there is no Deployment {namespace}/{CONTROL}");
            return findings.bad(topic, found, "run `weft install`, or name its namespace with --system-namespace");
        }
        Err(error) => return findings.untold(topic, &error),
    };
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or_default();
    let found = format!("{ready} of {wanted} replicas are ready");
    let next = format!("kubectl -n {namespace} describe pods; kubectl -n {namespace} logs deployment/{CONTROL}");
    match ready {
        0 => findings.bad(topic, found, next),
        _ if ready < wanted => findings.warning(topic, found, next),
        1 => findings.warning(
            topic,
            "1 replica alone is wanted",
            "install with --set replicas=2, so that a drained node costs nothing",
        ),
        _ => findings.good(topic, found),
    }
}

async fn crds(cluster: &Cluster, findings: &mut Findings) {
    let topic = "definitions";
    let crds: Api<CustomResourceDefinition> = Api::all(cluster.client.clone());
    let (mut missing, mut found) = (Vec::new(), 0);
    for name in crd_names() {
        match within(crds.get_opt(&name)).await {
            Ok(Some(_)) => found += 1,
            Ok(None) => missing.push(name),
            Err(error) => return findings.untold(topic, &error),
        }
    }
    match missing.is_empty() {
        true => findings.good(topic, format!("{found} kinds of Weft's own are defined")),
        false => findings.bad(topic, format!("{} are missing", missing.join(", ")), "run `weft install`"),
    }
}

async fn webhooks(cluster: &Cluster, findings: &mut Findings) {
    let mutating: Api<MutatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let injector = within(mutating.get_opt("weft-injector")).await;
    let bundles = injector.map(|found| {
        found.map(|found| {
            found.webhooks.unwrap_or_default().into_iter().map(|hook| hook.client_config.ca_bundle).collect()
        })
    });
    webhook("weft-injector", bundles, findings);
    let validating: Api<ValidatingWebhookConfiguration> = Api::all(cluster.client.clone());
    let validator = within(validating.get_opt("weft-validator")).await;
    let bundles = validator.map(|found| {
        found.map(|found| {
            found.webhooks.unwrap_or_default().into_iter().map(|hook| hook.client_config.ca_bundle).collect()
        })
    });
    webhook("weft-validator", bundles, findings);
}

/// What is said of a webhook: by each of its rules a bundle.
fn webhook(
    name: &str,
    found: Result<Option<Vec<Option<k8s_openapi::ByteString>>>, kube::Error>,
    findings: &mut Findings,
) {
    let topic = "webhooks";
    let bundles = match found {
        Ok(Some(bundles)) => bundles,
        Ok(None) => return findings.bad(topic, format!("there is no {name}"), "run `weft install`"),
        Err(error) => return findings.untold(topic, &error),
    };
    let next = "look at the log of weft-control: it writes the certificates of its webhooks";
    let mut first = None;
    for bundle in bundles {
        let Some(bundle) = bundle.filter(|bundle| !bundle.0.is_empty()) else {
            let found = format!("{name} has no CA bundle: the API server can't call it, and pods are not created");
            return findings.bad(topic, found, next);
        };
        match bundle::ends(&bundle.0) {
            Ok(ends) => first = first.into_iter().chain(ends).min(),
            Err(error) => return findings.bad(topic, format!("{name}'s CA bundle can't be read: {error}"), next),
        }
    }
    match first {
        Some(end) => certificate(topic, &format!("{name}'s CA bundle"), end, WEBHOOK_SOON, next, findings),
        None => findings.bad(topic, format!("{name} has no CA bundle"), next),
    }
}

async fn authority(cluster: &Cluster, findings: &mut Findings) {
    let topic = "certificates";
    let secrets: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let secret = match within(secrets.get_opt("weft-ca")).await {
        Ok(Some(secret)) => secret,
        Ok(None) => {
            return findings.bad(topic, "there is no Secret weft-ca", "the control plane makes it; look at its log");
        }
        Err(error) => return findings.untold(topic, &error),
    };
    for (key, what) in [("root.crt", "the root CA"), ("issuer.crt", "the issuing CA")] {
        let pem = secret.data.as_ref().and_then(|data| data.get(key));
        let ends = pem.map(|pem| bundle::ends(&pem.0));
        let next = "see docs/reference/kubernetes-registry.md on how a root is replaced";
        match ends.transpose().map(|ends| ends.and_then(|ends| ends.into_iter().min())) {
            Ok(Some(end)) => certificate(topic, what, end, SOON, next, findings),
            Ok(None) => findings.bad(topic, format!("Secret weft-ca has no {key}"), next),
            Err(error) => findings.bad(topic, format!("{key} in Secret weft-ca can't be read: {error}"), next),
        }
    }
}

pub(super) fn certificate(
    topic: &'static str,
    what: &str,
    end: SystemTime,
    soon: Duration,
    next: &str,
    findings: &mut Findings,
) {
    let now = SystemTime::now();
    match end.duration_since(now) {
        Ok(left) if left > soon => {
            findings.good(topic, format!("{what} ends in {}", crate::text::span(left.as_secs())));
        }
        Ok(left) => findings.warning(topic, format!("{what} ends in {}", crate::text::span(left.as_secs())), next),
        Err(over) => {
            findings.bad(topic, format!("{what} ended {} ago", crate::text::span(over.duration().as_secs())), next);
        }
    }
}

async fn leader(cluster: &Cluster, findings: &mut Findings) {
    let topic = "leader";
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let spec = match within(leases.get_opt("weft-control-leader")).await {
        Ok(lease) => lease.and_then(|lease| lease.spec).unwrap_or_default(),
        Err(error) => return findings.untold(topic, &error),
    };
    let next = format!("kubectl -n {} logs -l app.kubernetes.io/name={CONTROL} | grep -i lease", cluster.namespace);
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let age = spec.renew_time.and_then(|renewed| SystemTime::now().duration_since(renewed.0.into()).ok());
    match (holder, age) {
        (None, _) => findings.bad(topic, "no replica leads: no statuses, no shifts, no trust bundles", next),
        (Some(holder), Some(age)) if age > LEASE_AGE => {
            let found = format!("{holder} has not renewed its lease for {}", crate::text::span(age.as_secs()));
            findings.warning(topic, found, next);
        }
        (Some(holder), _) => findings.good(topic, holder),
    }
}

/// The roots in each namespace with sidecars, and the pods there that have none.
async fn namespaces(cluster: &Cluster, findings: &mut Findings) {
    let all: Api<Namespace> = Api::all(cluster.client.clone());
    let labelled = match within(all.list(&ListParams::default().labels("weft.dev/inject=enabled"))).await {
        Ok(all) => all.items,
        Err(error) => return findings.untold("trust bundle", &error),
    };
    let names: Vec<_> = labelled.into_iter().filter_map(|namespace| namespace.metadata.name).collect();
    let (mut without, mut bundle) = (Vec::new(), 0);
    for name in &names {
        let maps: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), name);
        match within(maps.get_opt("weft-trust-bundle")).await {
            Ok(Some(_)) => bundle += 1,
            Ok(None) => without.push(name.as_str()),
            Err(error) => return findings.untold("trust bundle", &error),
        }
    }
    match without.is_empty() {
        true => findings.good("trust bundle", format!("in all {bundle} namespaces with sidecars")),
        false => {
            let found = format!("missing in {}: pods wait there and do not start", without.join(", "));
            findings.bad("trust bundle", found, "the leader writes it; look at its log");
        }
    }
    for name in &names {
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), name);
        match within(pods.list(&ListParams::default())).await {
            Ok(pods) => sidecars(name, &pods.items, findings),
            Err(error) => return findings.untold("sidecars", &error),
        }
    }
}

/// Pods that were there before the label was.
pub(super) fn sidecars(namespace: &str, pods: &[Pod], findings: &mut Findings) {
    let topic = "sidecars";
    let opted_out = |pod: &Pod| {
        let maps = [&pod.metadata.labels, &pod.metadata.annotations];
        maps.into_iter().flatten().any(|map| map.get("weft.dev/inject").is_some_and(|value| value == "disabled"))
    };
    let on_host = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or_default();
    let ended = |pod: &Pod| {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
    };
    let meant = pods.iter().filter(|pod| !opted_out(pod) && !on_host(pod) && !ended(pod));
    let (with, without): (Vec<_>, Vec<_>) = meant.partition(|pod| has_proxy(pod));
    match without.len() {
        0 => findings.good(topic, format!("{}: {} pods", namespace, with.len())),
        lacking => findings.warning(
            topic,
            format!("{namespace}: {lacking} of {} pods have none", lacking + with.len()),
            format!("pods get it when they are made: kubectl rollout restart deployment,statefulset,daemonset -n {namespace}"),
        ),
    }
}
