//! Which endpoints are left out, for what they answered and for how they are.

use weft_api::xds::pb::envoy::config::cluster::v3::OutlierDetection as XdsOutlier;
use weft_api::xds::pb::envoy::config::core::v3::HealthCheck as XdsHealthCheck;
use weft_api::xds::pb::envoy::config::core::v3::health_check::{
    GrpcHealthCheck, HealthChecker, HttpHealthCheck, TcpHealthCheck,
};
use weft_api::xds::pb::envoy::r#type::v3::Int64Range;

use super::super::values::{duration, number};
use crate::mesh::{HealthCheck, OutlierDetection, Probe};

/// A criterion that is off is enforced on none; what is not told has Envoy's default.
pub(super) fn outlier(outlier: &OutlierDetection) -> XdsOutlier {
    let enforced = |on: bool| Some(number(if on { 100 } else { 0 }));
    let errors = |count: u32| (count > 0).then(|| number(count));
    let rate = outlier.success_rate;
    XdsOutlier {
        consecutive_5xx: errors(outlier.consecutive_5xx),
        enforcing_consecutive_5xx: enforced(outlier.consecutive_5xx > 0),
        consecutive_gateway_failure: errors(outlier.consecutive_gateway_errors),
        enforcing_consecutive_gateway_failure: enforced(outlier.consecutive_gateway_errors > 0),
        enforcing_success_rate: enforced(rate.is_some()),
        success_rate_minimum_hosts: rate.map(|rate| number(rate.min_hosts)),
        success_rate_request_volume: rate.map(|rate| number(rate.min_requests)),
        // In thousandths; at most 100,000 by what a policy may say.
        success_rate_stdev_factor: rate.map(|rate| number((rate.stdev_factor * 1000.0).round() as u32)),
        interval: Some(duration(outlier.interval)),
        base_ejection_time: Some(duration(outlier.base_ejection)),
        max_ejection_time: Some(duration(outlier.max_ejection)),
        max_ejection_percent: Some(number(outlier.max_ejected_percent.into())),
        ..XdsOutlier::default()
    }
}

pub(super) fn check(check: &HealthCheck) -> XdsHealthCheck {
    let checker = match &check.probe {
        Probe::Http { path, host, expected_statuses } => HealthChecker::HttpHealthCheck(HttpHealthCheck {
            path: path.to_string(),
            host: host.as_deref().unwrap_or_default().to_owned(),
            expected_statuses: expected_statuses.iter().map(|&status| only(status)).collect(),
            ..HttpHealthCheck::default()
        }),
        Probe::Grpc { service } => HealthChecker::GrpcHealthCheck(GrpcHealthCheck {
            service_name: service.to_string(),
            ..GrpcHealthCheck::default()
        }),
        Probe::Tcp => HealthChecker::TcpHealthCheck(TcpHealthCheck::default()),
    };
    XdsHealthCheck {
        interval: Some(duration(check.interval)),
        timeout: Some(duration(check.timeout)),
        healthy_threshold: Some(number(check.healthy_threshold)),
        unhealthy_threshold: Some(number(check.unhealthy_threshold)),
        health_checker: Some(checker),
        ..XdsHealthCheck::default()
    }
}

/// Ranges of statuses are half open.
fn only(status: u16) -> Int64Range {
    let start = i64::from(status);
    Int64Range { start, end: start + 1 }
}
