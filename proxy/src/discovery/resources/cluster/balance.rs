//! `LoadBalancingPolicy` and `CommonLbConfig` -> how an endpoint is picked.

use http::HeaderName;
use weft_api::xds::pb::envoy::config::cluster::v3::cluster::CommonLbConfig;
use weft_api::xds::pb::envoy::config::cluster::v3::{Cluster, LoadBalancingPolicy};
use weft_api::xds::pb::envoy::config::core::v3::TypedExtensionConfig;
use weft_api::xds::pb::envoy::config::route::v3::route_action::HashPolicy;
use weft_api::xds::pb::envoy::config::route::v3::route_action::hash_policy::{Cookie, PolicySpecifier};
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::{
    LocalityConfigSpecifier, ZoneAwareLbConfig,
};
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::common::v3::{
    ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig,
};
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::maglev::v3::Maglev;
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::random::v3::Random;
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::RingHash;
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use weft_api::xds::{self, PEAK_EWMA};
use weft_rules::balance::{Algorithm, BalancePolicy, SlowStart};
use weft_rules::hash::HashKey;

use crate::discovery::resources::fault::{Fault, Within as _, refuse};
use crate::discovery::resources::routes::is_token;
use crate::discovery::resources::{duration, limited, percent};

/// Checks how endpoints of a cluster are picked.
pub(super) fn policy(cluster: &Cluster) -> Result<BalancePolicy, Fault> {
    let mut policy = match &cluster.load_balancing_policy {
        Some(policies) => first_known(policies).within("load_balancing_policy")?,
        None => BalancePolicy::default(),
    };
    if let Some(config) = &cluster.common_lb_config
        && let Some(panic) = panic_threshold(config).within("common_lb_config")?
    {
        policy.panic_percent = panic;
    }
    Ok(policy)
}

fn panic_threshold(config: &CommonLbConfig) -> Result<Option<u8>, Fault> {
    refuse!(config; ignore_new_hosts_until_first_hc, consistent_hashing_lb_config, locality_config_specifier);
    config.healthy_panic_threshold.map(|panic| percent("healthy_panic_threshold", panic.value)).transpose()
}

/// The first policy of a known type, as in Envoy.
fn first_known(policies: &LoadBalancingPolicy) -> Result<BalancePolicy, Fault> {
    for (index, policy) in policies.policies.iter().enumerate() {
        let Some(extension) = &policy.typed_extension_config else { continue };
        let parsed = known(extension).within("typed_extension_config.typed_config").within_item("policies", index)?;
        if let Some(policy) = parsed {
            return Ok(policy);
        }
    }
    let names: Vec<_> = policies.policies.iter().filter_map(|policy| policy.typed_extension_config.as_ref()).collect();
    let names: Vec<_> = names.iter().map(|extension| extension.name.as_str()).collect();
    Err(Fault::new("policies", format!("has none that this proxy knows among {names:?}")))
}

/// The policy of an extension; `None`: its type is not known.
fn known(extension: &TypedExtensionConfig) -> Result<Option<BalancePolicy>, Fault> {
    let any = extension.typed_config.as_ref().ok_or_else(|| Fault::here("is missing"))?;
    let parsed = if let Ok(config) = xds::unpack::<LeastRequest>(any) {
        let peak_ewma = extension.name == PEAK_EWMA;
        least_request(&config, if peak_ewma { Algorithm::PeakEwma } else { Algorithm::LeastRequest })?
    } else if let Ok(config) = xds::unpack::<RoundRobin>(any) {
        BalancePolicy {
            slow_start: slow_start(config.slow_start_config.as_ref())?,
            ..located(Algorithm::RoundRobin, config.locality_lb_config.as_ref())?
        }
    } else if let Ok(config) = xds::unpack::<Random>(any) {
        located(Algorithm::Random, config.locality_lb_config.as_ref())?
    } else if let Ok(config) = xds::unpack::<RingHash>(any) {
        refuse!(config; use_hostname_for_hashing, hash_balance_factor, locality_weighted_lb_config);
        hashed(Algorithm::RingHash, config.consistent_hashing_lb_config.as_ref())?
    } else if let Ok(config) = xds::unpack::<Maglev>(any) {
        refuse!(config; locality_weighted_lb_config);
        hashed(Algorithm::Maglev, config.consistent_hashing_lb_config.as_ref())?
    } else {
        return Ok(None);
    };
    Ok(Some(parsed))
}

fn least_request(config: &LeastRequest, algorithm: Algorithm) -> Result<BalancePolicy, Fault> {
    refuse!(config; active_request_bias, enable_full_scan, selection_method);
    if config.choice_count.as_ref().is_some_and(|choices| choices.value != 2) {
        return Err(Fault::new("choice_count", "is not 2, the only number of choices supported"));
    }
    Ok(BalancePolicy {
        slow_start: slow_start(config.slow_start_config.as_ref())?,
        ..located(algorithm, config.locality_lb_config.as_ref())?
    })
}

fn located(algorithm: Algorithm, locality: Option<&LocalityLbConfig>) -> Result<BalancePolicy, Fault> {
    let zone_aware = match locality.and_then(|locality| locality.locality_config_specifier.as_ref()) {
        None => false,
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(config)) => {
            zone_aware(config).within("locality_lb_config.zone_aware_lb_config")?
        }
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
            let field = "locality_lb_config.locality_weighted_lb_config";
            return Err(Fault::new(field, "is not supported by this proxy"));
        }
    };
    Ok(BalancePolicy { algorithm, zone_aware, ..BalancePolicy::default() })
}

fn zone_aware(config: &ZoneAwareLbConfig) -> Result<bool, Fault> {
    refuse!(config; fail_traffic_on_panic);
    match config.routing_enabled.as_ref().map(|percent| percent.value) {
        None | Some(100.0) => Ok(true),
        Some(0.0) => Ok(false),
        Some(other) => Err(Fault::new("routing_enabled", format!("is {other}; only 0 and 100 are supported"))),
    }
}

fn slow_start(config: Option<&SlowStartConfig>) -> Result<Option<SlowStart>, Fault> {
    let Some(config) = config else { return Ok(None) };
    let parse = || {
        let window = config.slow_start_window.map(|window| limited("slow_start_window", window)).transpose()?.flatten();
        let aggression = config.aggression.as_ref().map_or(1.0, |aggression| aggression.default_value);
        if !(aggression.is_finite() && aggression > 0.0) {
            return Err(Fault::new("aggression", format!("{aggression} is not above 0")));
        }
        let min_percent = match &config.min_weight_percent {
            Some(min) => percent("min_weight_percent", min.value)?,
            None => 10,
        };
        Ok(window.map(|window| SlowStart { window, min_percent, aggression }))
    };
    parse().within("slow_start_config")
}

fn hashed(algorithm: Algorithm, config: Option<&ConsistentHashingLbConfig>) -> Result<BalancePolicy, Fault> {
    let hash = config.map(keys).transpose().within("consistent_hashing_lb_config")?.unwrap_or_default();
    Ok(BalancePolicy { algorithm, hash, ..BalancePolicy::default() })
}

fn keys(config: &ConsistentHashingLbConfig) -> Result<Vec<HashKey>, Fault> {
    refuse!(config; use_hostname_for_hashing, hash_balance_factor);
    let last = config.hash_policy.len().saturating_sub(1);
    let keys = config.hash_policy.iter().enumerate().map(|(index, policy)| {
        let parse = || match key(policy)? {
            _ if index < last && !policy.terminal => {
                Err(Fault::new("terminal", "is false; the first of the list that a request has must be the last"))
            }
            key => Ok(key),
        };
        parse().within_item("hash_policy", index)
    });
    keys.collect()
}

fn key(policy: &HashPolicy) -> Result<HashKey, Fault> {
    match &policy.policy_specifier {
        Some(PolicySpecifier::Header(header)) => {
            refuse!(header; regex_rewrite);
            let name = HeaderName::from_bytes(header.header_name.as_bytes());
            let reason =
                || Fault::new("header.header_name", format!("{:?} is not a header's name", header.header_name));
            name.map(HashKey::Header).map_err(|_| reason())
        }
        Some(PolicySpecifier::Cookie(cookie)) => self::cookie(cookie).within("cookie"),
        Some(PolicySpecifier::ConnectionProperties(properties)) if properties.source_ip => Ok(HashKey::Source),
        _ => Err(Fault::here("is not `header`, `cookie` or `connection_properties.source_ip`")),
    }
}

fn cookie(cookie: &Cookie) -> Result<HashKey, Fault> {
    refuse!(cookie; attributes);
    if !is_token(&cookie.name) {
        return Err(Fault::new("name", format!("{:?} is not a cookie's name", cookie.name)));
    }
    if cookie.path.contains([';', ',']) || cookie.path.chars().any(char::is_control) {
        return Err(Fault::new("path", format!("{:?} is not a cookie's path", cookie.path)));
    }
    let ttl = cookie.ttl.map(|ttl| duration("ttl", ttl)).transpose()?;
    Ok(HashKey::Cookie { name: cookie.name.clone(), ttl, path: cookie.path.clone() })
}
