//! HTTP filters of the inbound listener -> rate limits.

mod actions;

use std::sync::Arc;
use std::time::Duration;

use weft_api::xds;
use weft_api::xds::pb::envoy::config::core::v3::grpc_service::TargetSpecifier;
use weft_api::xds::pb::envoy::config::core::v3::{ApiVersion, RuntimeFractionalPercent};
use weft_api::xds::pb::envoy::config::ratelimit::v3::RateLimitServiceConfig;
use weft_api::xds::pb::envoy::extensions::common::ratelimit::v3::LocalRateLimitDescriptor;
use weft_api::xds::pb::envoy::extensions::filters::http::local_ratelimit::v3::LocalRateLimit;
use weft_api::xds::pb::envoy::extensions::filters::http::ratelimit::v3::RateLimit;
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{HttpFilter, http_filter};
use weft_api::xds::pb::envoy::r#type::v3::{HttpStatus, TokenBucket};
use weft_api::xds::pb::google::protobuf::Any;
use weft_rules::rate_limit::{LocalLimit, Quota};
use weft_rules::route::Match;
use weft_rules::share::Share;

use crate::discovery::resources::fault::{Fault, Within as _, refuse};
use crate::discovery::resources::listener::HTTP_ROUTER;
use crate::discovery::resources::{above_zero, reference, share};
use crate::discovery::values::{Cluster, GlobalRule, LocalRule, RateLimits};

/// Envoy's own default for the answer of a rate limit service.
const DEFAULT_TIMEOUT: Duration = Duration::from_millis(20);
/// `DRAFT_VERSION_03` of `enable_x_ratelimit_headers`.
const DRAFT_VERSION_03: i32 = 1;

/// The rate limits of a port, with names of clusters.
#[derive(Debug, Default)]
pub(super) struct LimitsSpec {
    local: Vec<Arc<LocalRule>>,
    global: Vec<GlobalRule<Arc<str>>>,
}

impl LimitsSpec {
    /// The clusters of rate limit services.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.global.iter().map(|rule| &rule.cluster)
    }

    /// Takes local limits over where they are the same.
    pub(super) fn keep_rules(&mut self, before: &Self) {
        for rule in &mut self.local {
            if let Some(same) = before.local.iter().find(|before| before.is_same(rule)) {
                *rule = Arc::clone(same);
            }
        }
    }

    /// The limits, with clusters in place of names.
    pub(super) fn limits(&self, cluster: &impl Fn(&Arc<str>) -> Arc<Cluster>) -> RateLimits {
        let global = self.global.iter().map(|rule| rule.map(cluster));
        RateLimits { local: self.local.clone(), global: global.collect() }
    }
}

/// Checks the HTTP filters of an inbound chain. They are known by the type of their configuration, since there may be
/// several of a kind.
pub(super) fn limits(filters: &[HttpFilter]) -> Result<LimitsSpec, Fault> {
    let mut limits = LimitsSpec::default();
    for (index, filter) in filters.iter().enumerate().filter(|(_, filter)| filter.name != HTTP_ROUTER) {
        refuse!(filter; disabled);
        add_filter(&mut limits, filter).within_item("http_filters", index)?;
    }
    Ok(limits)
}

fn add_filter(limits: &mut LimitsSpec, filter: &HttpFilter) -> Result<(), Fault> {
    let Some(http_filter::ConfigType::TypedConfig(any)) = &filter.config_type else {
        return Err(Fault::new("typed_config", "is missing"));
    };
    let mut parse = || {
        if let Ok(config) = xds::unpack::<LocalRateLimit>(any) {
            limits.local.push(Arc::new(local(&config, any)?));
            return Ok(());
        }
        let config = xds::unpack::<RateLimit>(any);
        let config = config.map_err(|reason| Fault::here(format!("{reason}, or a LocalRateLimit")))?;
        limits.global.push(global(&config)?);
        Ok(())
    };
    parse().within("typed_config")
}

/// A limit that this proxy enforces: one bucket, or one for each descriptor that requests have. The default bucket of a
/// filter with a descriptor, which Envoy wants to be there, is not read.
fn local(config: &LocalRateLimit, source: &Any) -> Result<LocalRule, Fault> {
    refuse!(config; stage, local_rate_limit_per_downstream_connection, local_cluster_rate_limit,
        request_headers_to_add_when_not_enforced, response_headers_to_add);
    always("filter_enabled", config.filter_enabled.as_ref())?;
    always("filter_enforced", config.filter_enforced.as_ref())?;
    too_many_requests("status", config.status.as_ref())?;
    let (conditions, by, bucket) = match (config.descriptors.as_slice(), config.rate_limits.as_slice()) {
        ([], []) => (Match::any(), Vec::new(), quota("token_bucket", config.token_bucket.as_ref())?),
        ([descriptor], [rate_limit]) => {
            let descriptor_of = actions::descriptor(rate_limit).within_item("rate_limits", 0)?;
            let by = actions::attributes(&descriptor.entries, &descriptor_of).within_item("descriptors", 0)?;
            let bucket = descriptor_quota(descriptor).within_item("descriptors", 0)?;
            (descriptor_of.matcher, by, bucket)
        }
        (descriptors, rate_limits) => {
            let found = format!("{} beside {} rate_limits", descriptors.len(), rate_limits.len());
            return Err(Fault::new("descriptors", format!("has {found}; expected one of each, or none")));
        }
    };
    let limit = LocalLimit { name: config.stat_prefix.as_str().into(), matcher: conditions, by, quota: bucket };
    let mut rule = LocalRule::new(limit, &source.value);
    rule.resource_exhausted = config.rate_limited_as_resource_exhausted;
    rule.tells = tells(config.enable_x_ratelimit_headers)?;
    match &config.max_dynamic_descriptors {
        Some(max) if max.value == 0 => return Err(Fault::new("max_dynamic_descriptors", "is 0")),
        Some(max) => rule.max_buckets = max.value as usize,
        None => {}
    }
    Ok(rule)
}

fn descriptor_quota(descriptor: &LocalRateLimitDescriptor) -> Result<Quota, Fault> {
    refuse!(descriptor; shadow_mode);
    quota("token_bucket", descriptor.token_bucket.as_ref())
}

fn quota(field: &str, bucket: Option<&TokenBucket>) -> Result<Quota, Fault> {
    let bucket = bucket.ok_or_else(|| Fault::new(field, "is missing"))?;
    let parse = || {
        let per = bucket.fill_interval.ok_or_else(|| Fault::new("fill_interval", "is missing"))?;
        let quota = Quota {
            requests: bucket.tokens_per_fill.as_ref().map_or(1, |tokens| tokens.value),
            per: above_zero("fill_interval", per)?,
            burst: bucket.max_tokens,
        };
        match quota {
            Quota { requests: 0, .. } => Err(Fault::new("tokens_per_fill", "is 0")),
            Quota { burst: 0, .. } => Err(Fault::new("max_tokens", "is 0; no request could ever pass")),
            quota => Ok(quota),
        }
    };
    parse().within(field)
}

/// A limit that a rate limit service decides.
fn global(config: &RateLimit) -> Result<GlobalRule<Arc<str>>, Fault> {
    refuse!(config; stage, response_headers_to_add, failure_mode_deny_percent, metadata_namespace);
    always("filter_enabled", config.filter_enabled.as_ref())?;
    always("filter_enforced", config.filter_enforced.as_ref())?;
    too_many_requests("rate_limited_status", config.rate_limited_status.as_ref())?;
    if !matches!(config.request_type.as_str(), "" | "both") {
        return Err(Fault::new("request_type", format!("{:?} is not supported by this proxy", config.request_type)));
    }
    let service = config.rate_limit_service.as_ref().ok_or_else(|| Fault::new("rate_limit_service", "is missing"))?;
    let descriptors = config.rate_limits.iter().enumerate();
    let descriptors = descriptors
        .map(|(index, rate_limit)| actions::descriptor(rate_limit).within_item("rate_limits", index))
        .collect::<Result<_, _>>()?;
    Ok(GlobalRule {
        cluster: self::service(service).within("rate_limit_service")?,
        domain: reference("domain", &config.domain)?,
        timeout: config.timeout.map_or(Ok(DEFAULT_TIMEOUT), |timeout| above_zero("timeout", timeout))?,
        fail_open: !config.failure_mode_deny,
        descriptors,
        resource_exhausted: config.rate_limited_as_resource_exhausted,
        tells: tells(config.enable_x_ratelimit_headers)?,
    })
}

/// The cluster of a rate limit service.
fn service(config: &RateLimitServiceConfig) -> Result<Arc<str>, Fault> {
    if config.transport_api_version != i32::from(ApiVersion::V3) {
        return Err(Fault::new("transport_api_version", "is not V3"));
    }
    let service = config.grpc_service.as_ref().ok_or_else(|| Fault::new("grpc_service", "is missing"))?;
    let parse = || {
        refuse!(service; initial_metadata, retry_policy);
        match &service.target_specifier {
            Some(TargetSpecifier::EnvoyGrpc(grpc)) => {
                reference("cluster_name", &grpc.cluster_name).within("envoy_grpc")
            }
            _ => Err(Fault::here("has no envoy_grpc")),
        }
    };
    parse().within("grpc_service")
}

/// A limit is for all requests; Envoy can leave some out.
fn always(field: &str, fraction: Option<&RuntimeFractionalPercent>) -> Result<(), Fault> {
    let Some(fraction) = fraction else { return Ok(()) };
    match share("default_value", fraction.default_value.as_ref()).within(field)? {
        Share::ALL => Ok(()),
        _ => Err(Fault::new(field, "is not 100 %")),
    }
}

fn too_many_requests(field: &str, status: Option<&HttpStatus>) -> Result<(), Fault> {
    match status.map(|status| status.code) {
        None | Some(0 | 429) => Ok(()),
        Some(other) => Err(Fault::new(field, format!("is {other}; only 429 is supported"))),
    }
}

/// Whether answers tell how much is left.
fn tells(version: i32) -> Result<bool, Fault> {
    match version {
        0 => Ok(false),
        DRAFT_VERSION_03 => Ok(true),
        _ => Err(Fault::new("enable_x_ratelimit_headers", "is neither OFF nor DRAFT_VERSION_03")),
    }
}

#[cfg(test)]
mod tests;
