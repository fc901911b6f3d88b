//! `outlierDetection` and `healthCheck`.

use std::time::Duration;

use axum::http::uri::{Authority, PathAndQuery};

use super::fields::{DAY, Fields, HOUR, MILLISECOND};
use super::raw;
use crate::mesh::{HealthCheck, OutlierDetection, Probe, SuccessRate};
use crate::registry::fault::FieldPath;

pub(super) fn outlier(raw: raw::OutlierDetection, field: &FieldPath, fields: &mut Fields<'_>) -> OutlierDetection {
    let mut time = |key: &str, text: &Option<String>, most, default| {
        let found = fields.duration(field.key(key), text.as_deref(), MILLISECOND..=most);
        found.unwrap_or(Duration::from_secs(default))
    };
    let interval = time("interval", &raw.interval, HOUR, 10);
    let base_ejection = time("baseEjection", &raw.base_ejection, DAY, 30);
    let max_ejection = time("maxEjection", &raw.max_ejection, DAY, 300);
    if max_ejection < base_ejection {
        let message = format!("{max_ejection:?} is shorter than baseEjection, {base_ejection:?}");
        fields.error(field.key("maxEjection"), message);
    }
    let mut count = |key: &str, written| fields.number(field.key(key), written, 0..=1_000_000).unwrap_or(5);
    let consecutive_5xx = count("consecutive5xx", raw.consecutive_5xx);
    let consecutive_gateway_errors = count("consecutiveGatewayErrors", raw.consecutive_gateway_errors);
    OutlierDetection {
        consecutive_5xx,
        consecutive_gateway_errors,
        success_rate: raw.success_rate.map(|raw| success_rate(&raw, &field.key("successRate"), fields)),
        interval,
        base_ejection,
        max_ejection,
        max_ejected_percent: fields
            .number(field.key("maxEjectedPercent"), raw.max_ejected_percent, 0..=100)
            .unwrap_or(10),
    }
}

fn success_rate(raw: &raw::SuccessRate, field: &FieldPath, fields: &mut Fields<'_>) -> SuccessRate {
    SuccessRate {
        min_hosts: fields.number(field.key("minHosts"), raw.min_hosts, 1..=1_000_000).unwrap_or(5),
        min_requests: fields.number(field.key("minRequests"), raw.min_requests, 1..=1_000_000).unwrap_or(100),
        stdev_factor: fields.fraction(field.key("stdevFactor"), raw.stdev_factor, 0.0..=100.0).unwrap_or(1.9),
    }
}

pub(super) fn check(raw: raw::HealthCheck, field: &FieldPath, fields: &mut Fields<'_>) -> Option<HealthCheck> {
    let least = Duration::from_millis(100);
    let interval = fields.duration(field.key("interval"), raw.interval.as_deref(), least..=HOUR);
    let timeout = fields.duration(field.key("timeout"), raw.timeout.as_deref(), MILLISECOND..=HOUR);
    let mut count = |key: &str, written, default| fields.number(field.key(key), written, 1..=100).unwrap_or(default);
    let healthy_threshold = count("healthyThreshold", raw.healthy_threshold, 2);
    let unhealthy_threshold = count("unhealthyThreshold", raw.unhealthy_threshold, 3);
    let probe = match (raw.http, raw.grpc, raw.tcp) {
        (Some(raw), None, None) => http(raw, &field.key("http"), fields),
        (None, Some(raw), None) => Probe::Grpc { service: raw.service.unwrap_or_default().into() },
        (None, None, Some(_)) => Probe::Tcp,
        _ => {
            fields.error(field.clone(), "has not exactly one of http, grpc, tcp");
            return None;
        }
    };
    Some(HealthCheck {
        interval: interval.unwrap_or(Duration::from_secs(5)),
        timeout: timeout.unwrap_or(Duration::from_secs(1)),
        healthy_threshold,
        unhealthy_threshold,
        probe,
    })
}

fn http(raw: raw::HttpProbe, field: &FieldPath, fields: &mut Fields<'_>) -> Probe {
    let path = raw.path.unwrap_or_else(|| "/".to_owned());
    if !path.starts_with('/') || path.contains('#') || PathAndQuery::try_from(path.as_str()).is_err() {
        fields.error(field.key("path"), format!("{path:?} is no path: it begins with '/' and has no space or '#'"));
    }
    if let Some(host) = raw.host.as_ref().filter(|host| host.parse::<Authority>().is_err()) {
        fields.error(field.key("host"), format!("{host:?} is no host"));
    }
    let mut expected_statuses = Vec::new();
    for (place, status) in raw.expected_statuses.unwrap_or_else(|| vec![200]).into_iter().enumerate() {
        let field = field.key("expectedStatuses").index(place);
        expected_statuses.extend(fields.number(field, Some(status), 200..=599u16));
    }
    Probe::Http { path: path.into(), host: raw.host.map(Into::into), expected_statuses }
}
