//! `weft status`: the connected proxies, and what the registry could not read.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use weft_api::status::{Fault, ListFaultsRequest, ListProxiesRequest, Proxy, Resource};

use crate::args::{Global, Output};
use crate::client::Client;
use crate::{output, text};

#[derive(Debug, Serialize)]
struct Overview {
    proxies: Vec<Proxy>,
    faults: Vec<Fault>,
}

/// Asks for the state of all proxies and prints it to `out`; with `resources`, each piece of their configuration too.
pub(crate) async fn run(
    namespace: Option<String>,
    resources: bool,
    global: &Global,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let request = ListProxiesRequest { namespace: namespace.unwrap_or_default() };
    let (mut proxies, mut faults) = (Vec::new(), Vec::new());
    for mut client in Client::connect_all(global).await? {
        let answer = client.status.list_proxies(request.clone()).await;
        proxies.extend(answer.map_err(|status| client.failure(&status, None))?.into_inner().proxies);
        let answer = client.status.list_faults(ListFaultsRequest {}).await;
        for fault in answer.map_err(|status| client.failure(&status, None))?.into_inner().faults {
            if !faults.contains(&fault) {
                faults.push(fault);
            }
        }
    }
    proxies.sort_by(|a: &Proxy, b| a.node.cmp(&b.node));
    let overview = Overview { proxies, faults };
    match global.output {
        Output::Json => output::json(out, &overview),
        Output::Table => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
            Ok(writeln!(out, "{}", show(&overview, resources, now))?)
        }
    }
}

/// `now` is in seconds since the epoch.
fn show(overview: &Overview, resources: bool, now: u64) -> String {
    let mut parts = vec![if overview.proxies.is_empty() {
        "No proxy is connected.".to_owned()
    } else {
        text::table(
            ["PROXY", "IDENTITY", "VERSION", "CONNECTED", "CONFIGURATION", "CERTIFICATE"],
            overview.proxies.iter().map(|proxy| row(proxy, now)),
        )
    }];
    if resources {
        let rows = overview.proxies.iter().flat_map(held);
        parts.push(text::table(["PROXY", "RESOURCE", "VERSION", "FOR"], rows));
    }
    let behind: Vec<_> = overview.proxies.iter().flat_map(behind).collect();
    if !behind.is_empty() {
        let heads = ["NOT CURRENT", "RESOURCE", "HAS", "WANTED", "FOR", "WHY"];
        parts.push(text::table(heads, behind));
    }
    let unused: Vec<_> = overview.proxies.iter().flat_map(unused).collect();
    if !unused.is_empty() {
        parts.push(text::table(["NOT USED BY", "CLUSTER", "WHAT", "WHY"], unused));
    }
    if !overview.faults.is_empty() {
        let rows = overview.faults.iter().map(|fault| {
            let line = if fault.line == 0 { String::new() } else { format!(":{}", fault.line) };
            [format!("{}{line}", fault.file), fault.field.clone(), fault.message.clone()]
        });
        parts.push(text::table(["BAD MANIFEST", "FIELD", "WHY"], rows));
    }
    parts.join("\n\n")
}

fn row(proxy: &Proxy, now: u64) -> [String; 6] {
    let total = proxy.resources.len();
    let current = proxy.resources.iter().filter(|resource| is_current(resource)).count();
    let configuration =
        if current == total { format!("{total} current") } else { format!("{current} of {total} current") };
    [
        proxy.node.clone(),
        proxy.identity.clone(),
        proxy.version.clone(),
        text::span(proxy.connected_seconds),
        configuration,
        certificate(proxy.certificate_expires, now),
    ]
}

fn certificate(expires: u64, now: u64) -> String {
    match expires {
        0 => "unknown".to_owned(),
        _ if expires <= now => format!("ended {} ago", text::span(now - expires)),
        _ => format!("ends in {}", text::span(expires - now)),
    }
}

/// A row for each resource that the proxy holds.
fn held(proxy: &Proxy) -> impl Iterator<Item = [String; 4]> {
    proxy.resources.iter().filter(|resource| !resource.acked_version.is_empty()).map(|resource| {
        let name = format!("{} {}", resource.kind, resource.name);
        [proxy.node.clone(), name, resource.acked_version.clone(), text::span(resource.age_seconds)]
    })
}

/// A row for each resource that the proxy does not hold as the control plane wants it.
fn behind(proxy: &Proxy) -> impl Iterator<Item = [String; 6]> {
    let version = |version: &str| if version.is_empty() { "none".to_owned() } else { version.to_owned() };
    proxy.resources.iter().filter(|resource| !is_current(resource)).map(move |resource| {
        let why = if resource.error.is_empty() { "not acknowledged yet".to_owned() } else { resource.error.clone() };
        [
            proxy.node.clone(),
            format!("{} {}", resource.kind, resource.name),
            version(&resource.acked_version),
            version(&resource.wanted_version),
            text::span(resource.stale_seconds),
            why,
        ]
    })
}

/// A row for each thing that the proxy keeps requests away from, as it reported last.
fn unused(proxy: &Proxy) -> impl Iterator<Item = [String; 4]> {
    let node = || proxy.node.clone();
    let ejected = proxy.ejected.iter().map(move |ejected| {
        let why = format!("ejected for failing, {} left", text::span(ejected.seconds_left));
        [node(), ejected.cluster.clone(), format!("endpoint {}", ejected.address), why]
    });
    let open = proxy.open_breakers.iter().map(move |breaker| {
        let what = format!("more {}", breaker.which);
        [node(), breaker.cluster.clone(), what, "the limit is reached: the breaker is open".to_owned()]
    });
    ejected.chain(open)
}

fn is_current(resource: &Resource) -> bool {
    resource.acked_version == resource.wanted_version && resource.error.is_empty()
}

#[cfg(test)]
mod tests;
