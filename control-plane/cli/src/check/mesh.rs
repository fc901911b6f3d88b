//! What the control plane says of the proxies.

use std::collections::BTreeMap;

use weft_api::status::{Fault, ListFaultsRequest, ListProxiesRequest, Proxy};

use super::Findings;
use crate::args::Global;
use crate::client::Client;
use crate::cluster::Cluster;

/// A proxy may be behind for a moment.
const BEHIND_SECONDS: u64 = 10;

/// Asks all replicas.
pub(super) async fn look(cluster: &Cluster, global: &Global, findings: &mut Findings) {
    let topic = "proxies";
    let clients = match Client::connect_all(global).await {
        Ok(clients) => clients,
        Err(error) => {
            let found = format!("the control plane could not be asked: {error}");
            let next = format!("kubectl -n {} get pods; you need to be allowed to forward ports", cluster.namespace);
            return findings.warning(topic, found.lines().next().unwrap_or_default(), next);
        }
    };
    let (mut proxies, mut faults) = (Vec::<Proxy>::new(), Vec::<Fault>::new());
    for mut client in clients {
        let answer = client.status.list_proxies(ListProxiesRequest::default()).await;
        let manifests = client.status.list_faults(ListFaultsRequest {}).await;
        match (answer, manifests) {
            (Ok(answer), Ok(manifests)) => {
                proxies.extend(answer.into_inner().proxies);
                faults = manifests.into_inner().faults;
            }
            (Err(status), _) | (_, Err(status)) => {
                let found = client.failure(&status, None).to_string();
                let found = found.lines().next().unwrap_or_default();
                return findings.warning(topic, found, "`weft status` tells more of it");
            }
        }
    }
    in_sync(&proxies, findings);
    versions(&proxies, findings);
    manifests(&faults, findings);
}

pub(super) fn in_sync(proxies: &[Proxy], findings: &mut Findings) {
    let behind = |proxy: &&Proxy| {
        let mut resources = proxy.resources.iter();
        resources.any(|resource| resource.stale_seconds > BEHIND_SECONDS || !resource.error.is_empty())
    };
    let behind: Vec<_> = proxies.iter().filter(behind).map(|proxy| proxy.node.as_str()).collect();
    let found = format!("{} connected", proxies.len());
    match behind.is_empty() {
        true => findings.good("proxies", format!("{found}, all of them current")),
        false => findings.warning(
            "proxies",
            format!("{found}, {} not current: {}", behind.len(), some(&behind)),
            "`weft status` tells what they lack and why",
        ),
    }
}

pub(super) fn versions(proxies: &[Proxy], findings: &mut Findings) {
    let mut counts = BTreeMap::<&str, usize>::new();
    proxies.iter().for_each(|proxy| *counts.entry(&proxy.version).or_default() += 1);
    let found = counts.iter().map(|(version, count)| format!("{count} of {version}")).collect::<Vec<_>>().join(", ");
    match counts.len() {
        0 => {}
        1 => findings.good("proxy versions", found),
        _ => findings.warning(
            "proxy versions",
            found,
            "roll the pods of the older ones; proxies of the last two minor versions work meanwhile",
        ),
    }
}

fn manifests(faults: &[Fault], findings: &mut Findings) {
    let topic = "manifests";
    match faults.first() {
        None => findings.good(topic, "no faults"),
        Some(first) => findings.warning(
            topic,
            format!("{} faults, the first: {}: {}", faults.len(), first.file, first.message),
            "`weft status` lists them; the objects' own conditions tell them, too",
        ),
    }
}

fn some(names: &[&str]) -> String {
    let shown = names.iter().take(5).copied().collect::<Vec<_>>().join(", ");
    if names.len() > 5 { format!("{shown}, ...") } else { shown }
}
