use weft_api::xds::Listener;
use weft_api::xds::pb::envoy::config::core::v3::GrpcService;
use weft_api::xds::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use weft_api::xds::pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
use weft_api::xds::pb::envoy::config::route::v3::rate_limit::Action;
use weft_api::xds::pb::envoy::config::route::v3::rate_limit::action::{
    ActionSpecifier, GenericKey, HeaderValueMatch, MetaData, RequestHeaders,
};
use weft_api::xds::pb::envoy::config::route::v3::{HeaderMatcher, RateLimit as Actions};
use weft_api::xds::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use weft_api::xds::pb::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher, string_matcher::MatchPattern};
use weft_api::xds::pb::envoy::r#type::metadata::v3::{
    MetadataKey,
    metadata_key::{PathSegment, path_segment::Segment},
};
use weft_api::xds::pb::google::protobuf::Duration as XdsDuration;
use weft_rules::rate_limit::Attribute;
use weft_rules::route::PathMatch;

use super::*;
use crate::discovery::resources::tests::{inbound, policies, refused};
use crate::discovery::testing as make;

const NAME: &str = "inbound";
const AT: &str = "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config";

fn filter<M: prost::Message + prost::Name>(config: &M) -> HttpFilter {
    let config = http_filter::ConfigType::TypedConfig(xds::pack(config));
    HttpFilter { name: "limit".to_owned(), config_type: Some(config), ..HttpFilter::default() }
}

/// An inbound listener whose port 8080 has these filters.
fn listener(http_filters: Vec<HttpFilter>) -> Listener {
    let manager = HttpConnectionManager { http_filters, ..HttpConnectionManager::default() };
    inbound(vec![make::inbound_chain(8080, make::chain(xds::pack(&manager)), None)], None)
}

fn limits(http_filters: Vec<HttpFilter>) -> Arc<RateLimits> {
    policies(&listener(http_filters)).port(8080).limits.clone()
}

fn bucket(max_tokens: u32, tokens: u32, seconds: i64) -> Option<TokenBucket> {
    let fill_interval = Some(XdsDuration { seconds, nanos: 0 });
    Some(TokenBucket { max_tokens, tokens_per_fill: make::uint(tokens), fill_interval })
}

fn action(specifier: ActionSpecifier) -> Action {
    Action { action_specifier: Some(specifier) }
}

fn header(name: &str, key: &str) -> Action {
    let (header_name, descriptor_key) = (name.to_owned(), key.to_owned());
    action(ActionSpecifier::RequestHeaders(RequestHeaders { header_name, descriptor_key, skip_if_absent: false }))
}

fn generic(key: &str, value: &str) -> Action {
    let (descriptor_key, descriptor_value) = (key.to_owned(), value.to_owned());
    action(ActionSpecifier::GenericKey(GenericKey { descriptor_value, descriptor_key, ..GenericKey::default() }))
}

fn peer(key: &str) -> Action {
    let segment = PathSegment { segment: Some(Segment::Key(xds::METADATA_PEER.to_owned())) };
    let metadata_key = Some(MetadataKey { key: xds::METADATA.to_owned(), path: vec![segment] });
    let descriptor_key = key.to_owned();
    action(ActionSpecifier::Metadata(MetaData { descriptor_key, metadata_key, ..MetaData::default() }))
}

fn matching(name: &str, pattern: MatchPattern) -> Action {
    let matcher = StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() };
    let specifier = Some(HeaderMatchSpecifier::StringMatch(matcher));
    let header = HeaderMatcher { name: name.to_owned(), header_match_specifier: specifier, ..HeaderMatcher::default() };
    let descriptor_value = "matched".to_owned();
    let value = HeaderValueMatch { descriptor_value, headers: vec![header], ..HeaderValueMatch::default() };
    action(ActionSpecifier::HeaderValueMatch(value))
}

fn entries(entries: &[(&str, &str)]) -> Vec<Entry> {
    let entry = |(key, value): &(&str, &str)| Entry { key: (*key).to_owned(), value: (*value).to_owned() };
    entries.iter().map(entry).collect()
}

/// A limit by these actions, with this descriptor.
fn local(actions: Vec<Action>, entries: Vec<Entry>) -> LocalRateLimit {
    let token_bucket = bucket(200, 100, 1);
    LocalRateLimit {
        stat_prefix: "per-user".to_owned(),
        descriptors: vec![LocalRateLimitDescriptor { entries, token_bucket, ..LocalRateLimitDescriptor::default() }],
        rate_limits: vec![Actions { actions, ..Actions::default() }],
        ..LocalRateLimit::default()
    }
}

fn global(cluster: &str) -> RateLimit {
    let grpc = EnvoyGrpc { cluster_name: cluster.to_owned(), ..EnvoyGrpc::default() };
    let grpc_service =
        GrpcService { target_specifier: Some(TargetSpecifier::EnvoyGrpc(grpc)), ..GrpcService::default() };
    RateLimit {
        domain: "shop".to_owned(),
        failure_mode_deny: true,
        rate_limit_service: Some(RateLimitServiceConfig {
            grpc_service: Some(grpc_service),
            transport_api_version: ApiVersion::V3.into(),
        }),
        rate_limits: vec![Actions { actions: vec![generic("k", "v"), header("x-user", "user")], ..Actions::default() }],
        ..RateLimit::default()
    }
}

#[test]
fn one_bucket_for_all_or_one_for_each_value() {
    let one = LocalRateLimit { token_bucket: bucket(20, 10, 1), ..LocalRateLimit::default() };
    let actions = vec![
        matching(
            ":path",
            MatchPattern::SafeRegex(RegexMatcher { regex: r"/a(\?.*)?".to_owned(), ..Default::default() }),
        ),
        matching(":method", MatchPattern::Exact("GET".to_owned())),
        header("x-user", "user"),
        header(":path", "path"),
        peer("peer"),
    ];
    let made = [("header_match", "matched"), ("header_match", "matched"), ("user", ""), ("path", ""), ("peer", "")];
    let mut each = local(actions, entries(&made));
    each.enable_x_ratelimit_headers = DRAFT_VERSION_03;
    each.max_dynamic_descriptors = make::uint(50);
    let limits = limits(vec![filter(&one), filter(&each)]);
    let [one, each] = limits.local.as_slice() else { panic!("{:?}", limits.local) };
    assert_eq!((one.limit.by.len(), one.limit.quota.burst, one.limit.quota.requests), (0, 20, 10));
    assert!(!one.tells && each.tells);
    assert_eq!((&*each.limit.name, each.limit.quota.per, each.max_buckets), ("per-user", Duration::from_secs(1), 50));
    let user = Attribute::Header("x-user".parse().unwrap());
    assert_eq!(each.limit.by, [user, Attribute::Path, Attribute::Peer]);
    assert_eq!(each.limit.matcher.method, Some(http::Method::GET));
    assert!(matches!(&each.limit.matcher.path, PathMatch::Regex(pattern) if pattern.matches("/a")));
}

#[test]
fn what_a_local_limit_cannot_do_is_refused_by_the_path() {
    let bad = |config: LocalRateLimit, path: &str| {
        refused(NAME, &listener(vec![filter(&config)]), &format!("{AT}.{path}"));
    };
    let by_user = || local(vec![header("x-user", "user")], entries(&[("user", "")]));
    assert!(!limits(vec![filter(&by_user())]).is_empty());
    bad(LocalRateLimit::default(), "token_bucket");
    bad(LocalRateLimit { token_bucket: bucket(0, 1, 1), ..Default::default() }, "token_bucket.max_tokens");
    bad(LocalRateLimit { token_bucket: bucket(1, 0, 1), ..Default::default() }, "token_bucket.tokens_per_fill");
    bad(LocalRateLimit { token_bucket: bucket(1, 1, 0), ..Default::default() }, "token_bucket.fill_interval");
    bad(LocalRateLimit { rate_limits: Vec::new(), ..by_user() }, "descriptors");
    bad(LocalRateLimit { status: Some(HttpStatus { code: 503 }), ..by_user() }, "status");
    bad(
        LocalRateLimit { local_rate_limit_per_downstream_connection: true, ..by_user() },
        "local_rate_limit_per_downstream_connection",
    );
    bad(local(vec![header("x-user", "user")], entries(&[("other", "")])), "descriptors[0].entries[0].key");
    bad(local(vec![header("x-user", "user")], entries(&[("user", "me")])), "descriptors[0].entries[0].value");
    bad(local(vec![header("x-user", "user")], Vec::new()), "descriptors[0]");
    bad(
        local(vec![header("a b", "user")], entries(&[("user", "")])),
        "rate_limits[0].actions[0].request_headers.header_name",
    );
    bad(local(Vec::new(), Vec::new()), "rate_limits[0].actions");
    bad(local(vec![Action::default()], entries(&[("user", "")])), "rate_limits[0].actions[0]");
    refused(NAME, &listener(vec![filter(&Listener::default())]), AT);
}

#[test]
fn a_service_decides_by_what_it_is_told() {
    let limits = limits(vec![filter(&global("infra/ratelimit:8081"))]);
    let [rule] = limits.global.as_slice() else { panic!("{:?}", limits.global) };
    assert_eq!((&*rule.cluster.name, &*rule.domain, rule.fail_open), ("infra/ratelimit:8081", "shop", false));
    assert_eq!(rule.timeout, DEFAULT_TIMEOUT);
    let [descriptor] = &*rule.descriptors else { panic!("{:?}", rule.descriptors) };
    let keys: Vec<_> = descriptor.entries.iter().map(|entry| (&*entry.key, &entry.value)).collect();
    let user = Attribute::Header("x-user".parse().unwrap());
    assert_eq!(keys, [("k", &Attribute::Fixed("v".into())), ("user", &user)]);

    let bad = |config: RateLimit, path: &str| {
        refused(NAME, &listener(vec![filter(&config)]), &format!("{AT}.{path}"));
    };
    bad(RateLimit { domain: String::new(), ..global("a/b:1") }, "domain");
    bad(global(""), "rate_limit_service.grpc_service.envoy_grpc.cluster_name");
    bad(RateLimit { rate_limit_service: None, ..global("a/b:1") }, "rate_limit_service");
    bad(RateLimit { request_type: "internal".to_owned(), ..global("a/b:1") }, "request_type");
    bad(RateLimit { enable_x_ratelimit_headers: 7, ..global("a/b:1") }, "enable_x_ratelimit_headers");
}
