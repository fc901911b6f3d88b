//! `gateway.networking.k8s.io/v1` GRPCRoute with Services as parents.

use std::sync::Arc;

use super::Refused;
use super::route::raw::{GrpcRule, RouteSpec};
use super::route::{self, Owner, RuleReport, backends, conditions, filters, session};
use crate::mesh::{Forward, GrpcMethod, Route, RouteAction, RouteMatch, RouteRule, Rules};
use crate::registry::fault::{FieldPath, Report};

pub(super) fn read(
    owner: Owner<'_>,
    created: i64,
    mut spec: RouteSpec<GrpcRule>,
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
    raw: GrpcRule,
    field: &FieldPath,
    report: &mut Report,
) -> Result<RouteRule, Refused> {
    let mut report = RuleReport::begin(owner, field, report)?;
    let mut matches = Vec::new();
    for (place, raw) in raw.matches.unwrap_or_default().into_iter().enumerate() {
        matches.push(conditions::grpc(raw, &field.key("matches").index(place), report.report())?);
    }
    if matches.is_empty() {
        matches.push(RouteMatch { grpc: Some(GrpcMethod::default()), ..RouteMatch::all() });
    }
    let found = filters::of_rule(raw.filters.unwrap_or_default(), &field.key("filters"), &mut report);
    let forward = Forward {
        backends: backends::read(raw.backend_refs.unwrap_or_default(), &field.key("backendRefs"), &mut report),
        mirrors: found.mirrors,
        session: raw
            .session_persistence
            .and_then(|raw| session::read(raw, &field.key("sessionPersistence"), &mut report)),
        ..Forward::default()
    };
    let action = if report.is_refused() { RouteAction::Refuse } else { RouteAction::Forward(Box::new(forward)) };
    let name = raw.name.map_or_else(|| place.to_string().into(), Arc::from);
    Ok(RouteRule { name, matches, filters: found.always, action })
}

#[cfg(test)]
mod tests;
