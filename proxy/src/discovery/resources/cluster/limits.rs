//! `CircuitBreakers` -> how much may be under way at once, and how many retries.

use weft_api::xds::pb::envoy::config::cluster::v3::CircuitBreakers;
use weft_api::xds::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use weft_api::xds::pb::envoy::config::cluster::v3::circuit_breakers::thresholds::RetryBudget;
use weft_api::xds::pb::envoy::config::core::v3::RoutingPriority;
use weft_api::xds::pb::google::protobuf::UInt32Value;
use weft_rules::limits::Limits;

use crate::discovery::resources::above_zero;
use crate::discovery::resources::fault::{Fault, Within as _, refuse};
use crate::discovery::values::BudgetPolicy;

/// Envoy's own default, where a budget is told without it.
const DEFAULT_MIN_RETRIES: u32 = 3;

/// Checks the limits. There is one priority, so thresholds of others mean nothing.
pub(super) fn limits(breakers: &CircuitBreakers) -> Result<(Limits, BudgetPolicy), Fault> {
    refuse!(breakers; per_host_thresholds);
    let mut found = None;
    for (index, thresholds) in breakers.thresholds.iter().enumerate() {
        if thresholds.priority != i32::from(RoutingPriority::Default) {
            continue;
        }
        if found.is_some() {
            return Err(Fault::new("priority", "is DEFAULT a second time")).within_item("thresholds", index);
        }
        found = Some(self::thresholds(thresholds).within_item("thresholds", index)?);
    }
    Ok(found.unwrap_or_default())
}

fn thresholds(thresholds: &Thresholds) -> Result<(Limits, BudgetPolicy), Fault> {
    refuse!(thresholds; max_retries, max_connection_pools);
    let value = |value: &Option<UInt32Value>| value.as_ref().map(|value| value.value);
    let limits = Limits {
        max_connections: value(&thresholds.max_connections),
        max_pending: value(&thresholds.max_pending_requests),
        max_requests: value(&thresholds.max_requests),
    };
    if limits.max_connections == Some(0) {
        return Err(Fault::new("max_connections", "is 0; nothing could ever be sent"));
    }
    let budget = match &thresholds.retry_budget {
        Some(budget) => self::budget(budget).within("retry_budget")?,
        None => BudgetPolicy::default(),
    };
    Ok((limits, budget))
}

fn budget(budget: &RetryBudget) -> Result<BudgetPolicy, Fault> {
    let defaults = BudgetPolicy::default();
    let ratio = match &budget.budget_percent {
        Some(percent) if (0.0..=100.0).contains(&percent.value) => percent.value / 100.0,
        Some(percent) => {
            return Err(Fault::new("budget_percent", format!("{} is not from 0 to 100", percent.value)));
        }
        None => defaults.ratio,
    };
    Ok(BudgetPolicy {
        ratio,
        min_per_second: budget.min_retry_concurrency.as_ref().map_or(DEFAULT_MIN_RETRIES, |min| min.value),
        window: match budget.budget_interval {
            Some(interval) => above_zero("budget_interval", interval)?,
            None => defaults.window,
        },
    })
}
