//! A decision as people read it: a heading for each step, and below it what it was decided by.

use weft_api::status::ConfigurationResource;
use weft_proxy::why::{Backend, EndpointStep, Explanation, Forward, Outcome, Setting};

use super::Answer;
use crate::text;

/// The whole decision.
pub(super) fn answer(answer: &Answer) -> String {
    let Explanation { request, refused, protocol, rules, outcome } = &answer.explanation;
    let mut lines = vec![match protocol {
        Some(step) if step.taken_as != "http" => format!("{} connects to {}", answer.node, request.dialled),
        _ => format!("{} asks {}: {} {}", answer.node, request.dialled, request.method, request.path),
    }];
    for refused in refused {
        lines.push(format!("REFUSED   {} {}: {}", refused.resource_kind, refused.name, refused.reason));
    }
    if let Some(step) = protocol {
        lines.push(format!("\nPROTOCOL  {}: {}", step.taken_as, step.because));
        lines.push(format!("          {} (listener {})", step.service, step.listener));
    }
    if !rules.is_empty() {
        let routes = protocol.as_ref().and_then(|step| step.route_configuration.as_deref()).unwrap_or_default();
        lines.push(format!("\nRULES     of {routes}, in the order in which they are tried"));
        for rule in rules {
            let (mark, why) = match &rule.failed {
                Some(failed) => ("no ", format!("no: {failed}")),
                None => ("YES", "matches".to_owned()),
            };
            let manifest = if rule.manifest.is_empty() { rule.rule.clone() } else { located(answer, &rule.manifest) };
            lines.push(format!("  {:>2} {mark}  {manifest}", rule.position));
            lines.push(format!("          {}; {why}", rule.conditions));
        }
    }
    lines.push(String::new());
    lines.extend(self::outcome(answer, outcome));
    lines.push(String::new());
    lines.extend(versions(answer));
    lines.join("\n")
}

fn outcome(answer: &Answer, outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Unknown { detail } => vec![format!("UNKNOWN   {detail}")],
        Outcome::Unusable { detail } => vec![format!("UNUSABLE  {detail}")],
        Outcome::Refuse { detail } => vec![format!("REFUSED   {detail}")],
        Outcome::NoRule { status } => vec![format!("ANSWER    {status}: no rule matches")],
        Outcome::Answer { status, manifest, detail, .. } => {
            vec![format!("ANSWER    {status}: {detail}"), format!("          {}", located(answer, manifest))]
        }
        Outcome::Redirect { status, location, manifest, filters, .. } => {
            let mut lines = vec![format!("REDIRECT  {status} to {location}")];
            lines.push(format!("          {}", located(answer, manifest)));
            lines.extend(settings(filters));
            lines
        }
        Outcome::Forward(to) => forward(answer, to),
        Outcome::Connect { because, backends } => {
            let mut lines = vec![format!("CONNECT   {because}")];
            lines.extend(backends.iter().flat_map(|backend| self::backend(answer, backend)));
            lines
        }
    }
}

fn forward(answer: &Answer, forward: &Forward) -> Vec<String> {
    let host = forward.host.as_ref().map(|host| format!(", host {host}")).unwrap_or_default();
    let mut lines = vec![format!("FORWARD   {}{host}", forward.path)];
    lines.push(format!("          {}", located(answer, &forward.manifest)));
    lines.extend(settings(&forward.filters));
    lines.extend(settings(&forward.timeouts));
    lines.extend(settings(&forward.retry));
    for mirror in &forward.mirrors {
        let absent = if mirror.exists { "" } else { ", which does not exist" };
        lines.push(format!("          a copy of {} % to {}{absent}", percent(mirror.share_percent), mirror.cluster));
    }
    lines.extend(forward.backends.iter().flat_map(|backend| self::backend(answer, backend)));
    lines
}

fn backend(answer: &Answer, backend: &Backend) -> Vec<String> {
    let share = percent(backend.share_percent);
    let mut lines = vec![format!("\nBACKEND   {share} % to {} (weight {})", backend.cluster, backend.weight)];
    if !backend.exists {
        lines.push("          does not exist: its share is answered 500, and connections are reset".to_owned());
    }
    if !backend.manifest.is_empty() {
        lines.push(format!("          {}", located(answer, &backend.manifest)));
    }
    lines.extend(settings(&backend.filters));
    lines.extend(settings(&backend.policy));
    let open = answer.open_breakers.iter().filter(|breaker| breaker.cluster == backend.cluster);
    lines.extend(open.map(|breaker| format!("          BREAKER OPEN: the limit on {} is reached", breaker.which)));
    if backend.exists && backend.endpoints.is_empty() {
        let local = backend.policy.iter().any(|setting| setting.name == "internalTrafficPolicy");
        let there = if local { " on the pod's node" } else { "" };
        lines.push(format!("          no endpoint{there}: its share is answered 503"));
    }
    if !backend.endpoints.is_empty() {
        let place = if backend.endpoints.iter().any(|at| !at.node.is_empty()) { "ZONE/NODE" } else { "ZONE" };
        let rows = backend.endpoints.iter().map(|endpoint| self::endpoint(answer, backend, endpoint));
        let table = text::table(["ENDPOINT", "POD", place, "OVER", "STATE"], rows);
        lines.extend(table.lines().map(|line| format!("          {line}")));
    }
    lines
}

fn endpoint(answer: &Answer, backend: &Backend, endpoint: &EndpointStep) -> [String; 5] {
    let mut ejected = answer.ejected.iter();
    let ejected = ejected.find(|one| one.cluster == backend.cluster && one.address == endpoint.address);
    let state = match (ejected, endpoint.draining) {
        (Some(ejected), _) => format!("ejected, {} left", text::span(ejected.seconds_left)),
        (None, true) => "draining".to_owned(),
        (None, false) => "in use".to_owned(),
    };
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let over = endpoint.identity.as_ref().map_or_else(|| "plaintext".to_owned(), |id| format!("mTLS, {id}"));
    let place = match endpoint.node.as_str() {
        "" => or_dash(&endpoint.zone),
        node => format!("{}/{node}", or_dash(&endpoint.zone)),
    };
    [endpoint.address.clone(), or_dash(&endpoint.pod), place, over, state]
}

/// Whether the proxy decides by what was just shown.
fn versions(answer: &Answer) -> Vec<String> {
    if !answer.connected {
        return vec!["PROXY     is not connected; it decides by what it got last, if it runs at all".to_owned()];
    }
    let held: Vec<_> = answer.resources.iter().filter(|resource| resource.subscribed).collect();
    let behind: Vec<_> = held.iter().filter(|resource| resource.acked_version != resource.version).collect();
    if held.is_empty() {
        return vec!["PROXY     is connected, and will ask for this when the pod first dials it".to_owned()];
    }
    let mut lines = vec![match (behind.len(), held.len()) {
        (0, all) => format!("PROXY     has the current version of all {all} resources that it asked for"),
        (behind, all) => format!("PROXY     does NOT decide so yet: {behind} of {all} resources are not current"),
    }];
    lines.extend(behind.iter().map(|resource| self::behind(resource)));
    lines
}

fn behind(resource: &ConfigurationResource) -> String {
    let ConfigurationResource { kind, name, version, acked_version, error, .. } = resource;
    let none = |version: &str| if version.is_empty() { "none".to_owned() } else { version.to_owned() };
    let why = if error.is_empty() { String::new() } else { format!(", refused: {error}") };
    format!("          {kind} {name}: has {}, wanted {}{why}", none(acked_version), none(version))
}

fn settings(settings: &[Setting]) -> impl Iterator<Item = String> {
    settings.iter().map(|setting| format!("          {:<28} {}", setting.name, setting.value))
}

/// A manifest with its file and line, where they are known.
fn located(answer: &Answer, manifest: &str) -> String {
    let object = object(manifest);
    let origin = answer.origins.iter().find(|origin| origin.manifest == object);
    match (origin, object.split_once(' ')) {
        (Some(origin), _) => format!("{manifest} ({}:{})", origin.file, origin.line),
        (None, Some(("Split", _))) => format!("{manifest} (set through the traffic API)"),
        (None, _) => manifest.to_owned(),
    }
}

/// `HTTPRoute shop/api rules[2]` -> `HTTPRoute shop/api`
pub(super) fn object(manifest: &str) -> &str {
    manifest.match_indices(' ').nth(1).and_then(|(end, _)| manifest.get(..end)).unwrap_or(manifest)
}

/// The manifests that an explanation names.
pub(super) fn manifests(explanation: &Explanation) -> Vec<&str> {
    let mut manifests: Vec<_> = explanation.rules.iter().map(|rule| rule.manifest.as_str()).collect();
    let backends = match &explanation.outcome {
        Outcome::Forward(forward) => {
            manifests.push(&forward.manifest);
            forward.backends.as_slice()
        }
        Outcome::Connect { backends, .. } => backends.as_slice(),
        Outcome::Answer { manifest, .. } | Outcome::Redirect { manifest, .. } => {
            manifests.push(manifest);
            &[]
        }
        _ => &[],
    };
    manifests.extend(backends.iter().map(|backend| backend.manifest.as_str()));
    manifests
}

/// At most two decimals.
fn percent(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}
