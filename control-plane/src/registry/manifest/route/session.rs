//! `sessionPersistence`: what keeps a client at one endpoint.

use super::raw::{self, Lifetime, SessionType};
use super::{RuleReport, headers};
use crate::mesh::Session;
use crate::registry::fault::FieldPath;
use crate::registry::manifest::duration;

/// The name of a session that has none.
const DEFAULT_NAME: &str = "weft-session";

/// Reads a rule's session. What Weft has no way to keep makes the rule refuse.
pub(in crate::registry::manifest) fn read(
    raw: raw::SessionPersistence,
    field: &FieldPath,
    rule: &mut RuleReport<'_>,
) -> Option<Session> {
    let name = raw.session_name.as_deref().unwrap_or(DEFAULT_NAME);
    // A cookie's name is a token too (RFC 6265, 4.1.1).
    let lower = rule.check(field.key("sessionName"), headers::name(name))?;
    if raw.idle_timeout.is_some() {
        rule.refuse(field.key("idleTimeout"), "is not supported: a proxy remembers no sessions");
    }
    let lifetime = raw.cookie_config.as_ref().and_then(|cookie| cookie.lifetime_type);
    let permanent = lifetime == Some(Lifetime::Permanent);
    let absolute = raw.absolute_timeout.as_deref();
    let ttl = absolute.and_then(|text| rule.check(field.key("absoluteTimeout"), duration::parse(text)));
    if raw.r#type == Some(SessionType::Header) {
        if raw.cookie_config.is_some() {
            rule.refuse(field.key("cookieConfig"), "is for sessions of type Cookie");
        }
        if absolute.is_some() {
            rule.refuse(field.key("absoluteTimeout"), "is supported for cookies of lifetimeType Permanent alone");
        }
        return Some(Session::Header { name: lower });
    }
    match (permanent, absolute.is_some()) {
        (true, false) => rule.refuse(field.key("absoluteTimeout"), "is missing: lifetimeType Permanent needs it"),
        (false, true) => {
            rule.refuse(field.key("absoluteTimeout"), "is supported for cookies of lifetimeType Permanent alone");
        }
        _ => {}
    }
    Some(Session::Cookie { name: name.into(), ttl: ttl.filter(|_| permanent) })
}
