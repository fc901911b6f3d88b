//! `weft.dev/v1alpha1` FaultInjection.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::route::{conditions, raw};
use super::{Refused, duration};
use crate::mesh::{Abort, FaultInjection, ObjectName};
use crate::registry::fault::{FieldPath, Report};

/// The longest delay.
const MAX_DELAY: Duration = Duration::from_secs(3600);
/// The gRPC statuses, by number.
const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Spec {
    delay: Option<RawDelay>,
    abort: Option<RawAbort>,
    headers: Option<Vec<raw::ValueMatch>>,
}

#[derive(Debug, Deserialize, Serialize)]
struct RawDelay {
    fixed: String,
    percent: Option<f64>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct RawAbort {
    http_status: Option<i64>,
    grpc_status: Option<String>,
    percent: Option<f64>,
}

pub(super) fn read(
    name: &ObjectName,
    spec: Spec,
    unknown: &[FieldPath],
    report: &mut Report,
) -> Result<FaultInjection, Refused> {
    let before = report.errors();
    for field in unknown {
        report.error(field.clone(), "is no field of a FaultInjection");
    }
    let field = FieldPath::of(&["spec"]);
    if spec.delay.is_none() && spec.abort.is_none() {
        report.error(field.clone(), "has neither delay nor abort");
    }
    let delay = spec.delay.and_then(|raw| {
        let field = field.key("delay");
        let share = share(raw.percent, &field.key("percent"), report);
        let fixed = duration::within(&raw.fixed, Duration::from_millis(1), MAX_DELAY);
        Some((report.check(field.key("fixed"), fixed)?, share?))
    });
    let abort = spec.abort.and_then(|raw| {
        let field = field.key("abort");
        let share = share(raw.percent, &field.key("percent"), report);
        Some((abort(raw, &field, report)?, share?))
    });
    let headers = conditions::headers_of(spec.headers, &field.key("headers"), report)?;
    match report.errors() == before {
        true => Ok(FaultInjection { name: name.clone(), delay, abort, headers }),
        false => Err(Refused),
    }
}

fn abort(raw: RawAbort, field: &FieldPath, report: &mut Report) -> Option<Abort> {
    match (raw.http_status, raw.grpc_status) {
        (Some(written), None) => {
            let status = u16::try_from(written).ok().filter(|status| (200..600).contains(status));
            let problem = || format!("{written} is not the status of an answer: 200 to 599");
            report.check(field.key("httpStatus"), status.map(Abort::Http).ok_or_else(problem))
        }
        (None, Some(written)) => {
            let number = (1..).zip(GRPC_STATUSES.iter().skip(1)).find(|(_, name)| **name == written);
            let problem =
                || format!("{written:?} is not one of {}", GRPC_STATUSES.get(1..).unwrap_or_default().join(", "));
            report.check(field.key("grpcStatus"), number.map(|(number, _)| Abort::Grpc(number)).ok_or_else(problem))
        }
        (Some(_), Some(_)) => {
            report.error(field.key("grpcStatus"), "and httpStatus exclude each other");
            None
        }
        (None, None) => {
            report.error(field.clone(), "has neither httpStatus nor grpcStatus");
            None
        }
    }
}

/// Of a million; all of them, where nothing is written.
fn share(percent: Option<f64>, field: &FieldPath, report: &mut Report) -> Option<u32> {
    let percent = percent.unwrap_or(100.0);
    if !(0.0..=100.0).contains(&percent) {
        report.error(field.clone(), format!("{percent} is out of range: 0 to 100"));
        return None;
    }
    // In range: at most a million.
    Some((percent * 10_000.0).round() as u32)
}

#[cfg(test)]
mod tests;
