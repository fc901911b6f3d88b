//! Rate limits, as the HTTP filters that requests to a port pass: one for each limit.

use std::sync::Arc;

use prost::{Message, Name};
use weft_api::xds::pb::envoy::config::core::v3::{ApiVersion, GrpcService, grpc_service};
use weft_api::xds::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use weft_api::xds::pb::envoy::config::route::v3::rate_limit::Action;
use weft_api::xds::pb::envoy::config::route::v3::rate_limit::action::{
    ActionSpecifier, GenericKey, HeaderValueMatch, MetaData, RequestHeaders,
};
use weft_api::xds::pb::envoy::config::route::v3::{HeaderMatcher, RateLimit as Descriptor};
use weft_api::xds::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use weft_api::xds::pb::envoy::extensions::common::ratelimit::v3::{
    LocalRateLimitDescriptor, XRateLimitHeadersRfcVersion,
};
use weft_api::xds::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use weft_api::xds::pb::envoy::extensions::filters::http::ratelimit::v3::{RateLimit, rate_limit};
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{HttpFilter, http_filter};
use weft_api::xds::pb::envoy::r#type::metadata::v3::MetadataKey;
use weft_api::xds::pb::envoy::r#type::metadata::v3::metadata_key::{PathSegment, path_segment::Segment};
use weft_api::xds::pb::envoy::r#type::v3::TokenBucket;
use weft_api::xds::pb::google::protobuf::BoolValue;
use weft_api::xds::{METADATA, METADATA_PEER, pack};

use super::super::name_of;
use super::super::routes::header_condition;
use super::super::values::{duration, number};
use crate::mesh::{GlobalLimit, LimitKey, LocalLimit, PathMatch, RouteMatch, TextMatch, TrafficPolicy};

/// The key of the entry that says which limit a descriptor is for.
const LIMIT: &str = "limit";

/// The limits of all policies, the local ones first: they cost nothing to ask.
pub(super) fn filters(policies: &[&TrafficPolicy]) -> Vec<HttpFilter> {
    let local = policies.iter().flat_map(|policy| &policy.local_limits);
    let local = local.map(|limit| filter("envoy.filters.http.local_ratelimit", &self::local(limit)));
    let global = policies.iter().filter_map(|policy| policy.global_limit.as_ref());
    let global = global.map(|limit| filter("envoy.filters.http.ratelimit", &self::global(limit)));
    local.chain(global).collect()
}

fn filter<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    let config_type = Some(http_filter::ConfigType::TypedConfig(pack(config)));
    HttpFilter { name: name.to_owned(), config_type, ..HttpFilter::default() }
}

/// One descriptor: its first entry is the limit's own name, made for the requests that it is for; the others tell whose
/// bucket it is, and have no value, so that there is a bucket for each.
fn local(limit: &LocalLimit) -> LocalRateLimit {
    let first = match &limit.condition {
        None => ActionSpecifier::GenericKey(GenericKey {
            descriptor_key: LIMIT.to_owned(),
            descriptor_value: limit.name.to_string(),
            ..GenericKey::default()
        }),
        Some(condition) => ActionSpecifier::HeaderValueMatch(HeaderValueMatch {
            descriptor_key: LIMIT.to_owned(),
            descriptor_value: limit.name.to_string(),
            expect_match: Some(BoolValue { value: true }),
            headers: conditions(condition),
            ..HeaderValueMatch::default()
        }),
    };
    let keys: Vec<_> = limit.by.iter().map(|key| (key_name(key), key)).collect();
    let actions = keys.iter().map(|(name, key)| specifier(name, key));
    let actions = [first].into_iter().chain(actions).map(|specifier| Action { action_specifier: Some(specifier) });
    let entries = keys.iter().map(|(name, _)| Entry { key: name.clone(), value: String::new() });
    let entries = [Entry { key: LIMIT.to_owned(), value: limit.name.to_string() }].into_iter().chain(entries);
    let bucket = TokenBucket {
        max_tokens: limit.burst,
        tokens_per_fill: Some(number(limit.requests)),
        fill_interval: Some(duration(limit.per)),
    };
    LocalRateLimit {
        stat_prefix: limit.name.to_string(),
        descriptors: vec![LocalRateLimitDescriptor {
            entries: entries.collect(),
            token_bucket: Some(bucket),
            ..LocalRateLimitDescriptor::default()
        }],
        rate_limits: vec![Descriptor { actions: actions.collect(), ..Descriptor::default() }],
        enable_x_ratelimit_headers: XRateLimitHeadersRfcVersion::DraftVersion03.into(),
        rate_limited_as_resource_exhausted: true,
        ..LocalRateLimit::default()
    }
}

fn global(limit: &GlobalLimit) -> RateLimit {
    let descriptor = |entries: &Vec<(Arc<str>, LimitKey)>| {
        let actions = entries.iter().map(|(name, key)| Action { action_specifier: Some(specifier(name, key)) });
        Descriptor { actions: actions.collect(), ..Descriptor::default() }
    };
    let cluster_name = name_of(&limit.service, limit.port);
    let grpc = grpc_service::EnvoyGrpc { cluster_name, ..grpc_service::EnvoyGrpc::default() };
    let service = GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(grpc)),
        ..GrpcService::default()
    };
    RateLimit {
        domain: limit.domain.to_string(),
        timeout: Some(duration(limit.timeout)),
        failure_mode_deny: !limit.fail_open,
        rate_limited_as_resource_exhausted: true,
        enable_x_ratelimit_headers: rate_limit::XRateLimitHeadersRfcVersion::DraftVersion03.into(),
        rate_limit_service: Some(RateLimitServiceConfig {
            grpc_service: Some(service),
            transport_api_version: ApiVersion::V3.into(),
        }),
        rate_limits: limit.descriptors.iter().map(descriptor).collect(),
        ..RateLimit::default()
    }
}

/// The key under which a property is counted.
fn key_name(key: &LimitKey) -> String {
    match key {
        LimitKey::Header(name) => format!("header:{name}"),
        LimitKey::Peer => "peer".to_owned(),
        LimitKey::Path => "path".to_owned(),
        LimitKey::Method => "method".to_owned(),
        LimitKey::Value(value) => value.to_string(),
    }
}

fn specifier(name: &str, key: &LimitKey) -> ActionSpecifier {
    let header = |header: &str| {
        ActionSpecifier::RequestHeaders(RequestHeaders {
            header_name: header.to_owned(),
            descriptor_key: name.to_owned(),
            skip_if_absent: false,
        })
    };
    match key {
        LimitKey::Header(name) => header(name),
        LimitKey::Path => header(":path"),
        LimitKey::Method => header(":method"),
        LimitKey::Value(value) => ActionSpecifier::GenericKey(GenericKey {
            descriptor_key: name.to_owned(),
            descriptor_value: value.to_string(),
            ..GenericKey::default()
        }),
        LimitKey::Peer => ActionSpecifier::Metadata(MetaData {
            descriptor_key: name.to_owned(),
            metadata_key: Some(MetadataKey {
                key: METADATA.to_owned(),
                path: vec![PathSegment { segment: Some(Segment::Key(METADATA_PEER.to_owned())) }],
            }),
            ..MetaData::default()
        }),
    }
}

/// The conditions of a rule as those of headers: the path and the method are headers too.
fn conditions(condition: &RouteMatch) -> Vec<HeaderMatcher> {
    let path = match &condition.path {
        PathMatch::Prefix(path) if **path == *"/" => None,
        // Envoy's path has the query behind it.
        PathMatch::Prefix(path) => {
            Some(header_condition(":path", &TextMatch::Regex(format!("{}(?:[/?].*)?", regex::escape(path)).into())))
        }
        PathMatch::Exact(path) => Some(header_condition(":path", &TextMatch::Exact(path.clone()))),
        PathMatch::Regex(pattern) => Some(header_condition(":path", &TextMatch::Regex(pattern.clone()))),
    };
    let method = condition.method.iter().map(|method| header_condition(":method", &TextMatch::Exact(method.clone())));
    let headers = condition.headers.iter().map(|(name, value)| header_condition(name, value));
    path.into_iter().chain(method).chain(headers).collect()
}
