//! `gateway.networking.k8s.io` TLSRoute and TCPRoute with Services as parents: routes for connections.

use std::sync::Arc;

use super::route::raw::{RouteSpec, StreamRule};
use super::route::{self, Owner, RuleReport, backends};
use super::{Refused, is_dns_subdomain};
use crate::mesh::{Backend, Route, RouteKind, Rules};
use crate::registry::fault::{FieldPath, Report};

pub(super) fn read(
    owner: Owner<'_>,
    created: i64,
    mut spec: RouteSpec<StreamRule>,
    report: &mut Report,
) -> Result<Route, Refused> {
    let parents = route::parents(owner, &mut spec, report)?;
    if parents.is_empty() {
        // For others to read.
        let rules = Rules::Connections { hostnames: Vec::new(), backends: None };
        return Ok(Route { kind: owner.kind, name: owner.name.clone(), created, parents, rules });
    }
    let hostnames = match owner.kind {
        RouteKind::Tls => hostnames(spec.hostnames.take().unwrap_or_default(), report)?,
        _ => Vec::new(),
    };
    let field = FieldPath::of(&["spec", "rules"]);
    let mut rules = spec.rules.unwrap_or_default().into_iter();
    let Some(first) = rules.next() else {
        report.error(field, "is empty: there is nowhere to send to");
        return Err(Refused);
    };
    if rules.next().is_some() {
        report.error(field.index(1), "is never reached: a connection has nothing by which rules could differ");
    }
    let backends = rule(owner, first, &field.index(0), report)?;
    let rules = Rules::Connections { hostnames, backends };
    Ok(Route { kind: owner.kind, name: owner.name.clone(), created, parents, rules })
}

fn rule(
    owner: Owner<'_>,
    raw: StreamRule,
    field: &FieldPath,
    report: &mut Report,
) -> Result<Option<Vec<Backend>>, Refused> {
    let mut report = RuleReport::begin(owner, field, report)?;
    let written = raw.backend_refs.unwrap_or_default();
    for (place, raw) in written.iter().enumerate().filter(|(_, raw)| raw.filters.is_some()) {
        let _ = raw;
        let message = format!("is no field of the {}", owner.kind);
        report.refuse(field.key("backendRefs").index(place).key("filters"), message);
    }
    let backends = backends::read(written, &field.key("backendRefs"), &mut report);
    Ok((!report.is_refused()).then_some(backends))
}

/// Names in lower case. A name that cannot be understood makes the route unusable: nobody knows which connections it
/// meant.
fn hostnames(written: Vec<String>, report: &mut Report) -> Result<Vec<Arc<str>>, Refused> {
    let field = FieldPath::of(&["spec", "hostnames"]);
    if written.is_empty() {
        report.error(field, "is empty: a TLSRoute is for the connections that ask for one of these names");
        return Err(Refused);
    }
    let mut names = Vec::<Arc<str>>::new();
    for (place, text) in written.into_iter().enumerate() {
        let lower = text.to_ascii_lowercase();
        let name = lower.strip_prefix("*.").unwrap_or(&lower);
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        if !is_dns_subdomain(name) || is_address {
            report.error(field.index(place), format!("{text:?} is no DNS name, with or without \"*.\" at the front"));
            return Err(Refused);
        }
        if !names.iter().any(|known| **known == *lower) {
            names.push(lower.into());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
