//! What the Gateway API's routes have in common.
//!
//! A condition that cannot be understood makes a whole route unusable: nobody knows which requests it meant. What a rule
//! asks for and Weft cannot do makes that rule refuse (500, or a reset), as the Gateway API has it: no request goes
//! silently to another backend than the one that was meant.

use std::fmt;
use std::sync::Arc;

use weft_api::names::is_dns_label;

use super::{Refused, port, required};
use crate::mesh::{ObjectName, ParentRef, RouteKind};
use crate::registry::fault::{FieldPath, Report, Step};

pub(super) mod backends;
pub(super) mod conditions;
pub(super) mod filters;
pub(super) mod headers;
pub(super) mod raw;
pub(super) mod session;

use raw::RouteSpec;

/// Whose rules are read, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) kind: RouteKind,
    pub(super) name: &'a ObjectName,
    /// The fields of the manifest that the kind doesn't have.
    pub(super) unknown: &'a [FieldPath],
}

/// Collects what is wrong with one rule: whether it can be in force.
pub(super) struct RuleReport<'a> {
    pub(super) owner: Owner<'a>,
    report: &'a mut Report,
    refused: bool,
}

impl<'a> RuleReport<'a> {
    /// A rule's report; fields of the rule that nobody knows are told right away.
    pub(super) fn begin(owner: Owner<'a>, rule: &FieldPath, report: &'a mut Report) -> Result<Self, Refused> {
        let conditions = rule.key("matches");
        let mut this = Self { owner, report, refused: false };
        for field in owner.unknown.iter().filter(|field| field.steps().starts_with(rule.steps())) {
            let message = format!("is no field of the {}", owner.kind);
            if field.steps().starts_with(conditions.steps()) {
                this.report.error(field.clone(), message);
                return Err(Refused);
            }
            this.refuse(field.clone(), message);
        }
        Ok(this)
    }

    /// Something that makes the rule refuse.
    pub(super) fn refuse(&mut self, field: FieldPath, message: impl fmt::Display) {
        self.report.error(field, format!("{message}; {}", self.consequence()));
        self.refused = true;
    }

    /// Takes the value; what is wrong with it makes the rule refuse.
    pub(super) fn check<T>(&mut self, field: FieldPath, result: Result<T, String>) -> Option<T> {
        result.map_err(|message| self.refuse(field, message)).ok()
    }

    /// Something about the rule that makes it refuse, and that may be meant so.
    pub(super) fn refuse_silently(&mut self, field: FieldPath, message: &str) {
        self.report.warning(field, format!("{message}: {}", self.consequence()));
        self.refused = true;
    }

    pub(super) fn report(&mut self) -> &mut Report {
        self.report
    }

    /// Whether the rule cannot be in force.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    fn consequence(&self) -> &'static str {
        if self.owner.kind.has_requests() { "the rule answers 500" } else { "the connections are reset" }
    }
}

/// The parents that are Services, after a look at what a route has besides parents and rules.
pub(super) fn parents<R>(
    owner: Owner<'_>,
    spec: &mut RouteSpec<R>,
    report: &mut Report,
) -> Result<Vec<ParentRef>, Refused> {
    let field = FieldPath::of(&["spec", "parentRefs"]);
    let mut parents = Vec::new();
    for (place, raw) in std::mem::take(&mut spec.parent_refs).unwrap_or_default().into_iter().enumerate() {
        parents.extend(parent(owner.name, place, raw, &field.index(place), report)?);
    }
    if parents.is_empty() {
        return Ok(parents);
    }
    if owner.kind.has_requests() && spec.hostnames.as_ref().is_some_and(|hostnames| !hostnames.is_empty()) {
        let message = "has no meaning with a Service as parent: routing is by the address that was dialled";
        report.warning(FieldPath::of(&["spec", "hostnames"]), message);
    }
    if spec.use_default_gateways.is_some() {
        let message = "has no meaning with a Service as parent: it is about Gateways";
        report.warning(FieldPath::of(&["spec", "useDefaultGateways"]), message);
    }
    let in_rule = |field: &FieldPath| matches!(field.steps().get(1), Some(Step::Key(key)) if key == "rules");
    for field in owner.unknown.iter().filter(|field| !in_rule(field)) {
        report.error(field.clone(), format!("is no field of the {}, and has no effect", owner.kind));
    }
    Ok(parents)
}

/// The Service that a parentRef names; `None`: it is somebody else's.
fn parent(
    route: &ObjectName,
    place: usize,
    raw: raw::ParentRef,
    field: &FieldPath,
    report: &mut Report,
) -> Result<Option<ParentRef>, Refused> {
    // The Gateway API's default is a Gateway, which is no business of the mesh.
    if raw.kind.as_deref() != Some("Service") || !matches!(raw.group.as_deref(), Some("" | "core")) {
        return Ok(None);
    }
    if !is_dns_label(&raw.name) {
        report.error(field.key("name"), format!("{:?} is not the name of a Service", raw.name));
        return Err(Refused);
    }
    let number = raw.port.map(|number| required(report.check(field.key("port"), port(number)))).transpose()?;
    let namespace = required(super::namespace(
        &field.key("namespace"),
        Some(raw.namespace.as_deref().unwrap_or(&route.namespace)),
        report,
    ))?;
    let service = ObjectName::new(namespace, raw.name);
    Ok(Some(ParentRef { place, service, port: number, section: raw.section_name.map(Arc::from) }))
}
