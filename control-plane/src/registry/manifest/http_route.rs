//! `gateway.networking.k8s.io/v1` HTTPRoute with Services as parents (the Gateway API's mesh profile).

use std::sync::Arc;
use std::time::Duration;

use super::route::raw::{self, HttpRule, RouteSpec};
use super::route::{self, Owner, RuleReport, backends, conditions, filters, session};
use super::{Refused, duration};
use crate::mesh::{
    Forward, PathEdit, PathMatch, Route, RouteAction, RouteMatch, RouteRule, RuleRetry, RuleTimeouts, Rules,
};
use crate::registry::fault::{FieldPath, Report};

/// The most further attempts.
const MAX_ATTEMPTS: u32 = 10;

pub(super) fn read(
    owner: Owner<'_>,
    created: i64,
    mut spec: RouteSpec<HttpRule>,
    report: &mut Report,
) -> Result<Route, Refused> {
    let parents = route::parents(owner, &mut spec, report)?;
    if parents.is_empty() {
        // For others to read.
        let rules = Rules::Requests(Vec::new());
        return Ok(Route { kind: owner.kind, name: owner.name.clone(), created, parents, rules });
    }
    let field = FieldPath::of(&["spec", "rules"]);
    let mut rules = Vec::new();
    for (place, raw) in spec.rules.unwrap_or_default().into_iter().enumerate() {
        rules.push(rule(owner, place, raw, &field.index(place), report)?);
    }
    Ok(Route { kind: owner.kind, name: owner.name.clone(), created, parents, rules: Rules::Requests(rules) })
}

fn rule(
    owner: Owner<'_>,
    place: usize,
    raw: HttpRule,
    field: &FieldPath,
    report: &mut Report,
) -> Result<RouteRule, Refused> {
    let mut report = RuleReport::begin(owner, field, report)?;
    let mut matches = Vec::new();
    for (place, raw) in raw.matches.unwrap_or_default().into_iter().enumerate() {
        matches.push(conditions::http(raw, &field.key("matches").index(place), report.report())?);
    }
    if matches.is_empty() {
        matches.push(RouteMatch::all());
    }
    let found = filters::of_rule(raw.filters.unwrap_or_default(), &field.key("filters"), &mut report);
    let edits = found.path.iter().chain(found.redirect.iter().filter_map(|redirect| redirect.path.as_ref()));
    if edits.into_iter().any(|edit| matches!(edit, PathEdit::Prefix(_))) && !all_prefixes(&matches) {
        report.refuse(field.key("filters"), "ReplacePrefixMatch needs matches of type PathPrefix and no others");
    }
    let written = raw.backend_refs.unwrap_or_default();
    let action = match found.redirect {
        Some(_) if !written.is_empty() => {
            report.refuse(field.key("backendRefs"), "and a RequestRedirect exclude each other");
            RouteAction::Refuse
        }
        Some(redirect) => RouteAction::Redirect(redirect),
        None => RouteAction::Forward(Box::new(Forward {
            backends: backends::read(written, &field.key("backendRefs"), &mut report),
            host: found.host,
            path: found.path,
            mirrors: found.mirrors,
            timeouts: timeouts(raw.timeouts, &field.key("timeouts"), &mut report),
            retry: raw.retry.map(|raw| retry(raw, &field.key("retry"), &mut report)),
            session: raw
                .session_persistence
                .and_then(|raw| session::read(raw, &field.key("sessionPersistence"), &mut report)),
        })),
    };
    let action = if report.is_refused() { RouteAction::Refuse } else { action };
    let name = raw.name.map_or_else(|| place.to_string().into(), Arc::from);
    Ok(RouteRule { name, matches, filters: found.always, action })
}

fn all_prefixes(matches: &[RouteMatch]) -> bool {
    matches.iter().all(|condition| matches!(condition.path, PathMatch::Prefix(_)))
}

fn timeouts(raw: Option<raw::Timeouts>, field: &FieldPath, rule: &mut RuleReport<'_>) -> RuleTimeouts {
    let Some(raw) = raw else { return RuleTimeouts::default() };
    let mut one = |key: &str, text: Option<String>| rule.check(field.key(key), duration::parse(&text?));
    let (request, attempt) = (one("request", raw.request), one("backendRequest", raw.backend_request));
    if let (Some(request), Some(attempt)) = (request, attempt)
        && attempt > request
        && !request.is_zero()
    {
        let message = format!("{attempt:?} is longer than timeouts.request, {request:?}");
        rule.refuse(field.key("backendRequest"), message);
    }
    RuleTimeouts { request, attempt }
}

fn retry(raw: raw::Retry, field: &FieldPath, rule: &mut RuleReport<'_>) -> RuleRetry {
    let attempts = raw.attempts.and_then(|written| {
        let attempts = u32::try_from(written).ok().filter(|&attempts| attempts <= MAX_ATTEMPTS);
        let problem = || format!("{written} is out of range: 0 to {MAX_ATTEMPTS}");
        rule.check(field.key("attempts"), attempts.ok_or_else(problem))
    });
    let mut codes = Vec::new();
    for (place, written) in raw.codes.unwrap_or_default().into_iter().enumerate() {
        let code = u16::try_from(written).ok().filter(|code| (400..600).contains(code));
        let problem = || format!("{written} is no status of an error: 400 to 599");
        codes.extend(rule.check(field.key("codes").index(place), code.ok_or_else(problem)));
    }
    let bounds = (Duration::from_millis(1), Duration::from_secs(3600));
    let backoff =
        raw.backoff.and_then(|text| rule.check(field.key("backoff"), duration::within(&text, bounds.0, bounds.1)));
    RuleRetry { attempts, codes, backoff }
}

#[cfg(test)]
mod tests;
