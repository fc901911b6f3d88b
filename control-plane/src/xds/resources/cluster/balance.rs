//! Who of the endpoints gets a request.

use prost::{Message, Name};
use weft_api::xds::pack;
use weft_api::xds::pb::envoy::config::cluster::v3::cluster::CommonLbConfig;
use weft_api::xds::pb::envoy::config::cluster::v3::{Cluster, LoadBalancingPolicy, load_balancing_policy::Policy};
use weft_api::xds::pb::envoy::config::core::v3::{RuntimeDouble, TypedExtensionConfig};
use weft_api::xds::pb::envoy::config::route::v3::route_action::HashPolicy;
use weft_api::xds::pb::envoy::config::route::v3::route_action::hash_policy::{
    ConnectionProperties, Cookie, Header, PolicySpecifier,
};
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config::{
    LocalityConfigSpecifier, ZoneAwareLbConfig,
};
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::common::v3::{
    ConsistentHashingLbConfig, LocalityLbConfig, SlowStartConfig,
};
use weft_api::xds::pb::envoy::extensions::load_balancing_policies::{
    least_request::v3::LeastRequest, maglev::v3::Maglev, random::v3::Random, ring_hash::v3::RingHash,
    round_robin::v3::RoundRobin,
};

use super::super::values::{duration, percent};
use crate::mesh::{Algorithm, Balance, HashKey, Locality, SlowStart};

/// What the proxy does without being told has nothing to be sent.
pub(super) fn apply(cluster: &mut Cluster, written: Option<&Balance>, of_service: Locality) {
    let default = Balance::default();
    let balance = written.unwrap_or(&default);
    let locality = match balance.locality.unwrap_or(of_service) {
        Locality::Anywhere => None,
        // The endpoints have their node in their locality, where that comes first.
        Locality::PreferSameNode | Locality::PreferSameZone => Some(zone_aware()),
    };
    let slow_start_config = balance.slow_start.map(slow_start);
    let extension = match balance.algorithm {
        Algorithm::PeakEwma if locality.is_none() && slow_start_config.is_none() => None,
        // Whoever does not know the name takes the type, which comes closest.
        Algorithm::PeakEwma => Some(extension(
            "weft.load_balancing_policies.peak_ewma",
            &LeastRequest { slow_start_config, locality_lb_config: locality, ..LeastRequest::default() },
        )),
        Algorithm::LeastRequest => Some(extension(
            "envoy.load_balancing_policies.least_request",
            &LeastRequest { slow_start_config, locality_lb_config: locality, ..LeastRequest::default() },
        )),
        Algorithm::RoundRobin => Some(extension(
            "envoy.load_balancing_policies.round_robin",
            &RoundRobin { slow_start_config, locality_lb_config: locality },
        )),
        Algorithm::Random => {
            Some(extension("envoy.load_balancing_policies.random", &Random { locality_lb_config: locality }))
        }
        Algorithm::RingHash => Some(extension(
            "envoy.load_balancing_policies.ring_hash",
            &RingHash { consistent_hashing_lb_config: Some(hashing(&balance.hash_on)), ..RingHash::default() },
        )),
        Algorithm::Maglev => Some(extension(
            "envoy.load_balancing_policies.maglev",
            &Maglev { consistent_hashing_lb_config: Some(hashing(&balance.hash_on)), ..Maglev::default() },
        )),
    };
    cluster.load_balancing_policy = extension
        .map(|extension| LoadBalancingPolicy { policies: vec![Policy { typed_extension_config: Some(extension) }] });
    cluster.common_lb_config = balance
        .panic_percent
        .map(|share| CommonLbConfig { healthy_panic_threshold: Some(percent(share)), ..CommonLbConfig::default() });
}

fn extension<M: Message + Name>(name: &str, config: &M) -> TypedExtensionConfig {
    TypedExtensionConfig { name: name.to_owned(), typed_config: Some(pack(config)) }
}

fn zone_aware() -> LocalityLbConfig {
    let zone_aware = ZoneAwareLbConfig::default();
    LocalityLbConfig { locality_config_specifier: Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zone_aware)) }
}

fn slow_start(slow_start: SlowStart) -> SlowStartConfig {
    let SlowStart { window, min_percent, aggression } = slow_start;
    SlowStartConfig {
        slow_start_window: Some(duration(window)),
        aggression: Some(RuntimeDouble {
            default_value: aggression,
            // Envoy asks for a key; nothing is looked up by it.
            runtime_key: "weft.slow_start.aggression".to_owned(),
        }),
        min_weight_percent: Some(percent(min_percent)),
    }
}

/// The first that a request has counts: each is the last, if it is there.
fn hashing(keys: &[HashKey]) -> ConsistentHashingLbConfig {
    let policy = |key: &HashKey| HashPolicy {
        terminal: true,
        policy_specifier: Some(match key {
            HashKey::Header(name) => {
                PolicySpecifier::Header(Header { header_name: name.to_string(), ..Header::default() })
            }
            HashKey::Cookie { name, ttl, path } => PolicySpecifier::Cookie(Cookie {
                name: name.to_string(),
                ttl: ttl.map(duration),
                path: path.as_deref().unwrap_or_default().to_owned(),
                ..Cookie::default()
            }),
            HashKey::Source => PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true }),
        }),
    };
    ConsistentHashingLbConfig { hash_policy: keys.iter().map(policy).collect(), ..ConsistentHashingLbConfig::default() }
}
