//! This pod's own policies, with rate limits.

use weft_api::xds::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use weft_api::xds::pb::envoy::config::core::v3::{ApiVersion, GrpcService};
use weft_api::xds::pb::envoy::config::listener::v3::FilterChain;
use weft_api::xds::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use weft_api::xds::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use weft_api::xds::pb::envoy::extensions::filters::http::ratelimit::v3::RateLimit;
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_filter,
};
use weft_api::xds::pb::envoy::r#type::v3::TokenBucket;
use weft_api::xds::pb::google::protobuf::value::Kind;

use super::*;

/// An inbound listener with a rate of its own, and a rate limit service.
fn limited(burst: u32, zone: &str, service: &str) -> Listener {
    let token_bucket = TokenBucket {
        max_tokens: burst,
        tokens_per_fill: uint(1),
        fill_interval: Some(xds::pb::google::protobuf::Duration { seconds: 1, nanos: 0 }),
    };
    let local = LocalRateLimit { token_bucket: Some(token_bucket), ..LocalRateLimit::default() };
    let grpc = EnvoyGrpc { cluster_name: service.to_owned(), ..EnvoyGrpc::default() };
    let grpc = GrpcService { target_specifier: Some(TargetSpecifier::EnvoyGrpc(grpc)), ..GrpcService::default() };
    let rate_limit_service =
        Some(RateLimitServiceConfig { grpc_service: Some(grpc), transport_api_version: ApiVersion::V3.into() });
    let global = RateLimit { domain: "shop".to_owned(), rate_limit_service, ..RateLimit::default() };
    let filter =
        |any| HttpFilter { config_type: Some(http_filter::ConfigType::TypedConfig(any)), ..HttpFilter::default() };
    let http_filters = vec![filter(xds::pack(&local)), filter(xds::pack(&global))];
    let manager = HttpConnectionManager { http_filters, ..HttpConnectionManager::default() };
    let text = |text: &str| Kind::StringValue(text.to_owned());
    let place = xds::metadata([(xds::METADATA_ZONE, text(zone)), (xds::METADATA_NODE, text("node-1"))]);
    Listener {
        name: "inbound".to_owned(),
        filter_chains: vec![inbound_chain(8080, chain(xds::pack(&manager)), None)],
        default_filter_chain: Some(FilterChain { metadata: Some(place), ..tcp_chain("inbound") }),
        ..Listener::default()
    }
}

#[test]
fn a_rate_limit_service_is_subscribed_to_and_nothing_waits_for_it() {
    let mut world = World::new();
    let service = "infra/ratelimit:8081";
    assert!(world.give("inbound", "1", &limited(5, "eu-1a", service)).is_empty());
    assert!(world.subscribed.contains("Cluster infra/ratelimit:8081"));
    let first = world.graph.take_inbound().unwrap();
    assert_eq!((&*first.place.zone, &*first.place.node), ("eu-1a", "node-1"));
    assert!(!first.port(8080).limits.global[0].cluster.exists, "it is not there yet");
    world.give(service, "1", &eds_cluster(service));
    world.give(service, "1", &assignment(service, &[("10.1.0.7", 8081)]));
    let there = world.graph.take_inbound().unwrap();
    assert_eq!(there.port(8080).limits.global[0].cluster.endpoints().all.len(), 1);
    world.give(service, "2", &assignment(service, &[("10.1.0.8", 8081)]));
    assert!(world.graph.take_inbound().is_none(), "new endpoints are no news");

    // The same service under another policy, then none.
    let other = Listener { filter_chains: Vec::new(), ..limited(5, "eu-1a", service) };
    world.give("inbound", "2", &other);
    assert_eq!(world.subscribed(), ["Listener inbound"]);
}

#[test]
fn a_limit_that_stays_the_same_is_the_same() {
    let mut world = World::new();
    let service = "infra/ratelimit:8081";
    let mut local = |burst, zone: &str, version: &str| {
        world.give("inbound", version, &limited(burst, zone, service));
        world.graph.take_inbound().unwrap().port(8080).limits.local[0].clone()
    };
    let first = local(5, "eu-1a", "1");
    assert!(Arc::ptr_eq(&first, &local(5, "eu-1b", "2")), "what was counted is forgotten");
    assert!(!Arc::ptr_eq(&first, &local(6, "eu-1b", "3")));
}
