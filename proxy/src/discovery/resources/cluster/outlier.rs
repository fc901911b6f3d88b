//! `OutlierDetection` -> when an endpoint is left out for how it answers.

use weft_api::xds::pb::envoy::config::cluster::v3::OutlierDetection;
use weft_api::xds::pb::google::protobuf::{Duration as XdsDuration, UInt32Value};
use weft_rules::outlier::{OutlierPolicy, SuccessRate};

use crate::discovery::resources::above_zero;
use crate::discovery::resources::fault::{Fault, refuse};

/// Checks when endpoints are ejected. Criteria that are not told are Envoy's: that of gateway failures is off.
pub(super) fn policy(detection: &OutlierDetection) -> Result<OutlierPolicy, Fault> {
    refuse!(detection; split_external_local_origin_errors, monitors, detect_degraded_hosts);
    for (field, enforcing) in [
        ("enforcing_failure_percentage", &detection.enforcing_failure_percentage),
        ("enforcing_failure_percentage_local_origin", &detection.enforcing_failure_percentage_local_origin),
    ] {
        if enforced(field, enforcing, false)? {
            return Err(Fault::new(field, "is not supported by this proxy"));
        }
    }
    let defaults = OutlierPolicy::default();
    let base_ejection = time("base_ejection_time", detection.base_ejection_time, defaults.base_ejection)?;
    let max_ejection = time("max_ejection_time", detection.max_ejection_time, defaults.max_ejection)?;
    Ok(OutlierPolicy {
        consecutive_5xx: criterion(
            ("consecutive_5xx", &detection.consecutive_5xx),
            ("enforcing_consecutive_5xx", &detection.enforcing_consecutive_5xx),
            true,
        )?,
        consecutive_gateway: criterion(
            ("consecutive_gateway_failure", &detection.consecutive_gateway_failure),
            ("enforcing_consecutive_gateway_failure", &detection.enforcing_consecutive_gateway_failure),
            false,
        )?,
        success_rate: success_rate(detection)?,
        interval: time("interval", detection.interval, defaults.interval)?,
        base_ejection,
        // As Envoy: no less than the first ejection.
        max_ejection: max_ejection.max(base_ejection),
        max_ejected_percent: max_ejected_percent(detection, defaults.max_ejected_percent)?,
    })
}

type Field<'a> = (&'a str, &'a Option<UInt32Value>);

/// Failures in a row, five unless told; `None`: they are not looked at.
fn criterion(failures: Field<'_>, enforcing: Field<'_>, by_default: bool) -> Result<Option<u32>, Fault> {
    if !enforced(enforcing.0, enforcing.1, by_default)? {
        return Ok(None);
    }
    match failures.1.as_ref().map_or(5, |failures| failures.value) {
        0 => Err(Fault::new(failures.0, format!("is 0; {} switches it off", enforcing.0))),
        failures => Ok(Some(failures)),
    }
}

/// Whether a criterion is on: in all cases, or in none.
fn enforced(field: &str, enforcing: &Option<UInt32Value>, by_default: bool) -> Result<bool, Fault> {
    match enforcing.as_ref().map(|enforcing| enforcing.value) {
        None => Ok(by_default),
        Some(0) => Ok(false),
        Some(100) => Ok(true),
        Some(other) => Err(Fault::new(field, format!("is {other}; only 0 and 100 are supported"))),
    }
}

fn success_rate(detection: &OutlierDetection) -> Result<Option<SuccessRate>, Fault> {
    if !enforced("enforcing_success_rate", &detection.enforcing_success_rate, true)? {
        return Ok(None);
    }
    let defaults = SuccessRate::default();
    let value = |value: &Option<UInt32Value>, default| value.as_ref().map_or(default, |value| value.value);
    let factor = detection.success_rate_stdev_factor.as_ref();
    Ok(Some(SuccessRate {
        min_hosts: value(&detection.success_rate_minimum_hosts, defaults.min_hosts),
        min_requests: value(&detection.success_rate_request_volume, defaults.min_requests),
        // In thousandths.
        stdev_factor: factor.map_or(defaults.stdev_factor, |factor| f64::from(factor.value) / 1000.0),
    }))
}

fn max_ejected_percent(detection: &OutlierDetection, default: u8) -> Result<u8, Fault> {
    let percent = detection.max_ejection_percent.as_ref().map_or(u32::from(default), |percent| percent.value);
    let percent = u8::try_from(percent).ok().filter(|percent| *percent <= 100);
    percent.ok_or_else(|| Fault::new("max_ejection_percent", "is not from 0 to 100"))
}

fn time(field: &str, told: Option<XdsDuration>, default: std::time::Duration) -> Result<std::time::Duration, Fault> {
    told.map_or(Ok(default), |told| above_zero(field, told))
}
