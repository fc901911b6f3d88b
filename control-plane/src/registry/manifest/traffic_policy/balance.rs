//! `loadBalancer`: who of the endpoints gets a request.

use super::fields::{DAY, Fields, HOUR, MILLISECOND};
use super::raw;
use crate::mesh::{Algorithm, Balance, HashKey, Locality, SlowStart};
use crate::registry::fault::FieldPath;
use crate::registry::manifest::route::headers;

const ALGORITHMS: [(&str, Algorithm); 6] = [
    ("PeakEwma", Algorithm::PeakEwma),
    ("RoundRobin", Algorithm::RoundRobin),
    ("LeastRequest", Algorithm::LeastRequest),
    ("Random", Algorithm::Random),
    ("RingHash", Algorithm::RingHash),
    ("Maglev", Algorithm::Maglev),
];
const LOCALITIES: [(&str, Locality); 3] = [
    ("PreferSameNode", Locality::PreferSameNode),
    ("PreferSameZone", Locality::PreferSameZone),
    ("Anywhere", Locality::Anywhere),
];

pub(super) fn read(raw: raw::LoadBalancer, field: &FieldPath, fields: &mut Fields<'_>) -> Balance {
    let algorithm = fields.word(field.key("algorithm"), raw.algorithm.as_deref(), &ALGORITHMS).unwrap_or_default();
    let written = raw.hash_on.unwrap_or_default();
    if algorithm.hashes() == written.is_empty() {
        let message = match written.is_empty() {
            true => "is missing: RingHash and Maglev need to know what to hash",
            false => "is for RingHash and Maglev alone",
        };
        fields.error(field.key("hashOn"), message);
    }
    let mut hash_on = Vec::new();
    for (place, raw) in written.into_iter().enumerate() {
        hash_on.extend(hash_key(raw, &field.key("hashOn").index(place), fields));
    }
    let slow_start = raw.slow_start.and_then(|raw| slow_start(&raw, &field.key("slowStart"), fields));
    if slow_start.is_some() && (algorithm.hashes() || algorithm == Algorithm::Random) {
        fields.error(field.key("slowStart"), "is for PeakEwma, RoundRobin and LeastRequest alone");
    }
    let locality = fields.word(field.key("locality"), raw.locality.as_deref(), &LOCALITIES);
    if locality.is_some_and(|locality| locality != Locality::Anywhere) && algorithm.hashes() {
        let message = "is not for RingHash and Maglev: a key has one endpoint, wherever it is asked from";
        fields.error(field.key("locality"), message);
    }
    let panic_percent = fields.number(field.key("panicPercent"), raw.panic_percent, 0..=100);
    Balance { algorithm, hash_on, slow_start, locality, panic_percent }
}

fn hash_key(raw: raw::HashKey, field: &FieldPath, fields: &mut Fields<'_>) -> Option<HashKey> {
    match (raw.header, raw.cookie, raw.source) {
        (Some(name), None, None) => fields.report.check(field.key("header"), headers::name(&name)).map(HashKey::Header),
        (None, Some(raw), None) => {
            let field = field.key("cookie");
            fields.report.check(field.key("name"), headers::name(&raw.name))?;
            let ttl = fields.duration(field.key("ttl"), raw.ttl.as_deref(), std::time::Duration::ZERO..=DAY * 365);
            if raw.path.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains(';')) {
                fields.error(field.key("path"), "is no path: it begins with '/' and has no ';'");
            }
            Some(HashKey::Cookie { name: raw.name.into(), ttl, path: raw.path.map(Into::into) })
        }
        (None, None, Some(true)) => Some(HashKey::Source),
        (None, None, Some(false)) => {
            fields.error(field.key("source"), "false means nothing: leave it out");
            None
        }
        _ => {
            fields.error(field.clone(), "is not exactly one of header, cookie, source");
            None
        }
    }
}

fn slow_start(raw: &raw::SlowStart, field: &FieldPath, fields: &mut Fields<'_>) -> Option<SlowStart> {
    let window = fields.required(field.key("window"), raw.window.as_deref())?;
    let window = fields.duration(field.key("window"), Some(window), MILLISECOND..=HOUR)?;
    let min_percent = fields.number(field.key("minPercent"), raw.min_percent, 1..=100).unwrap_or(10);
    let aggression = fields.fraction(field.key("aggression"), raw.aggression, 0.01..=100.0).unwrap_or(1.0);
    Some(SlowStart { window, min_percent, aggression })
}
