//! `HealthCheck` -> how endpoints are probed.

use std::ops::Range;

use http::HeaderValue;
use http::uri::PathAndQuery;
use weft_api::xds::pb::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use weft_api::xds::pb::envoy::config::core::v3::{HealthCheck, RequestMethod};
use weft_api::xds::pb::envoy::r#type::v3::Int64Range;
use weft_api::xds::pb::google::protobuf::{Duration as XdsDuration, UInt32Value};
use weft_rules::health::{HealthPolicy, Probe};

use crate::discovery::resources::above_zero;
use crate::discovery::resources::fault::{Fault, Within as _, refuse};

/// Checks the health checks of a cluster: one, or none.
pub(super) fn policy(checks: &[HealthCheck]) -> Result<Option<HealthPolicy>, Fault> {
    match checks {
        [] => Ok(None),
        [check] => self::check(check).within("health_checks[0]").map(Some),
        more => Err(Fault::new("health_checks", format!("has {} checks; expected one at most", more.len()))),
    }
}

fn check(check: &HealthCheck) -> Result<HealthPolicy, Fault> {
    refuse!(check; alt_port, unhealthy_interval, unhealthy_edge_interval, healthy_edge_interval, tls_options,
        transport_socket_match_criteria);
    Ok(HealthPolicy {
        interval: time("interval", check.interval)?,
        timeout: time("timeout", check.timeout)?,
        healthy_threshold: threshold("healthy_threshold", &check.healthy_threshold)?,
        unhealthy_threshold: threshold("unhealthy_threshold", &check.unhealthy_threshold)?,
        probe: match &check.health_checker {
            Some(HealthChecker::HttpHealthCheck(http)) => self::http(http).within("http_health_check")?,
            Some(HealthChecker::GrpcHealthCheck(grpc)) => self::grpc(grpc).within("grpc_health_check")?,
            Some(HealthChecker::TcpHealthCheck(tcp)) => self::tcp(tcp).within("tcp_health_check")?,
            Some(HealthChecker::CustomHealthCheck(_)) => {
                return Err(Fault::new("custom_health_check", "is not supported by this proxy"));
            }
            None => return Err(Fault::here("has no http_health_check, grpc_health_check or tcp_health_check")),
        },
    })
}

fn time(field: &str, told: Option<XdsDuration>) -> Result<std::time::Duration, Fault> {
    above_zero(field, told.ok_or_else(|| Fault::new(field, "is missing"))?)
}

fn threshold(field: &str, told: &Option<UInt32Value>) -> Result<u32, Fault> {
    match told.as_ref().map(|told| told.value) {
        None => Err(Fault::new(field, "is missing")),
        Some(0) => Err(Fault::new(field, "is 0")),
        Some(threshold) => Ok(threshold),
    }
}

fn http(http: &HttpHealthCheck) -> Result<Probe, Fault> {
    refuse!(http; send, receive, request_headers_to_add, request_headers_to_remove, retriable_statuses,
        service_name_matcher);
    if !matches!(RequestMethod::try_from(http.method), Ok(RequestMethod::MethodUnspecified | RequestMethod::Get)) {
        return Err(Fault::new("method", "is not GET"));
    }
    let path = PathAndQuery::try_from(http.path.as_str()).ok().filter(|_| http.path.starts_with('/'));
    let path = path.ok_or_else(|| Fault::new("path", format!("{:?} is not a path that begins with /", http.path)))?;
    let host = match http.host.as_str() {
        "" => None,
        host => {
            let value = host.parse::<http::uri::Authority>().ok().and_then(|_| HeaderValue::from_str(host).ok());
            Some(value.ok_or_else(|| Fault::new("host", format!("{host:?} is not a host")))?)
        }
    };
    let expected = http.expected_statuses.iter().enumerate();
    let expected = expected.map(|(index, range)| statuses(range).within_item("expected_statuses", index));
    Ok(Probe::Http { path, host, expected: expected.collect::<Result<_, _>>()? })
}

/// A half-open range of statuses.
fn statuses(range: &Int64Range) -> Result<Range<u16>, Fault> {
    match (u16::try_from(range.start), u16::try_from(range.end)) {
        (Ok(start), Ok(end)) if start < end && start >= 100 && end <= 600 => Ok(start..end),
        _ => Err(Fault::here(format!("{}..{} is not a range of HTTP statuses", range.start, range.end))),
    }
}

fn grpc(grpc: &GrpcHealthCheck) -> Result<Probe, Fault> {
    refuse!(grpc; authority, initial_metadata);
    Ok(Probe::Grpc { service: grpc.service_name.clone() })
}

fn tcp(tcp: &TcpHealthCheck) -> Result<Probe, Fault> {
    refuse!(tcp; send, receive, proxy_protocol_config);
    Ok(Probe::Tcp)
}
