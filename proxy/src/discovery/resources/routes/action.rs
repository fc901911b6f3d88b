//! `RouteAction` -> where requests go, and how.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use weft_api::xds::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HostRewriteSpecifier, MaxStreamDuration, RequestMirrorPolicy,
};
use weft_api::xds::pb::envoy::config::route::v3::weighted_cluster::{ClusterWeight, cluster_weight};
use weft_api::xds::pb::envoy::config::route::v3::{HedgePolicy, RouteAction};
use weft_api::xds::pb::google::protobuf;
use weft_rules::rewrite::{PathRewrite, Rewrite};
use weft_rules::route::{Backend, Forward, Mirror};
use weft_rules::session::SessionPolicy;
use weft_rules::share::Share;
use weft_rules::timeouts::Timeouts;
use weft_rules::weighted::Weighted;

use super::header_edits::edits;
use super::retry;
use crate::discovery::resources::fault::{Fault, Within as _, refuse};
use crate::discovery::resources::{duration, limited, reference, share};

/// Envoy's own default, where `timeout` is not sent.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// Checks the action of a route that forwards.
pub(super) fn forward(action: &RouteAction, session: Option<SessionPolicy>) -> Result<Forward<Arc<str>>, Fault> {
    refuse!(action; metadata_match, path_rewrite_policy, path_rewrite, append_x_forwarded_host,
        retry_policy_typed_config, rate_limits, hash_policy, grpc_timeout_offset,
        internal_redirect_policy);
    let retry = match &action.retry_policy {
        Some(policy) => retry::policy(policy).within("retry_policy")?,
        None => Default::default(),
    };
    let mirrors = action.request_mirror_policies.iter().enumerate();
    let mirrors = mirrors.map(|(index, policy)| mirror(policy).within_item("request_mirror_policies", index));
    Ok(Forward {
        backends: backends(action)?,
        rewrite: rewrite(action)?,
        mirrors: mirrors.collect::<Result<_, _>>()?,
        timeouts: timeouts(action)?,
        retry: Arc::new(retry),
        hedge: action.hedge_policy.as_ref().map_or(Ok(false), hedge).within("hedge_policy")?,
        session,
    })
}

fn backends(action: &RouteAction) -> Result<Weighted<Backend<Arc<str>>>, Fault> {
    match &action.cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => Ok(Weighted::single(Backend::plain(reference("cluster", name)?))),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            refuse!(weighted; random_value_specifier);
            weighted_clusters(&weighted.clusters).within("weighted_clusters")
        }
        Some(_) => Err(Fault::here("chooses the cluster by other means than `cluster` or `weighted_clusters`")),
        None => Err(Fault::new("cluster", "is missing")),
    }
}

fn weighted_clusters(clusters: &[ClusterWeight]) -> Result<Weighted<Backend<Arc<str>>>, Fault> {
    let weights = clusters.iter().enumerate().map(|(index, cluster)| backend(cluster).within_item("clusters", index));
    Weighted::new(weights.collect::<Result<_, _>>()?).map_err(|error| Fault::new("clusters", error.to_string()))
}

fn backend(cluster: &ClusterWeight) -> Result<(Backend<Arc<str>>, u32), Fault> {
    refuse!(cluster; cluster_header, metadata_match, typed_per_filter_config);
    let weight = cluster.weight.as_ref().ok_or_else(|| Fault::new("weight", "is missing"))?;
    let host = match &cluster.host_rewrite_specifier {
        Some(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(literal_host(host)?),
        None => None,
    };
    let backend = Backend {
        target: reference("name", &cluster.name)?,
        request_headers: edits("request", &cluster.request_headers_to_add, &cluster.request_headers_to_remove)?,
        response_headers: edits("response", &cluster.response_headers_to_add, &cluster.response_headers_to_remove)?,
        host,
    };
    Ok((backend, weight.value))
}

fn rewrite(action: &RouteAction) -> Result<Rewrite, Fault> {
    let host = match &action.host_rewrite_specifier {
        Some(HostRewriteSpecifier::HostRewriteLiteral(host)) => Some(literal_host(host)?),
        Some(_) => return Err(Fault::here("rewrites the host by other means than host_rewrite_literal")),
        None => None,
    };
    let path = match (&action.regex_rewrite, action.prefix_rewrite.as_str()) {
        (None, "") => None,
        (None, prefix) => {
            let rewrite = PathRewrite::prefix(prefix);
            Some(rewrite.map_err(|error| Fault::new("prefix_rewrite", error.to_string()))?)
        }
        (Some(regex), "") => {
            let pattern = regex.pattern.as_ref().map_or("", |pattern| pattern.regex.as_str());
            let rewrite = PathRewrite::regex(pattern, &regex.substitution);
            Some(rewrite.map_err(|error| Fault::new("regex_rewrite", error.to_string()))?)
        }
        (Some(_), _) => return Err(Fault::new("regex_rewrite", "is set beside prefix_rewrite")),
    };
    Ok(Rewrite { host, path })
}

/// A host that takes the place of the request's.
fn literal_host(host: &str) -> Result<HeaderValue, Fault> {
    let authority = host.parse::<http::uri::Authority>().ok().filter(|_| !host.contains('@'));
    let value = authority.and_then(|_| HeaderValue::from_str(host).ok());
    value.ok_or_else(|| Fault::new("host_rewrite_literal", format!("{host:?} is not a host")))
}

fn mirror(policy: &RequestMirrorPolicy) -> Result<Mirror<Arc<str>>, Fault> {
    refuse!(policy; cluster_header, request_headers_mutations, host_rewrite_literal);
    if !policy.disable_shadow_host_suffix_append {
        return Err(Fault::new("disable_shadow_host_suffix_append", "is false; copies keep the request's host"));
    }
    let share = match &policy.runtime_fraction {
        Some(fraction) => share("default_value", fraction.default_value.as_ref()).within("runtime_fraction")?,
        None => Share::ALL,
    };
    Ok(Mirror { target: reference("cluster", &policy.cluster)?, share })
}

#[allow(deprecated, reason = "Envoy reads no `timeout` beside the field that takes the place of `max_grpc_timeout`")]
fn timeouts(action: &RouteAction) -> Result<Timeouts, Fault> {
    let request = match action.timeout {
        Some(timeout) => limited("timeout", timeout)?,
        None => Some(DEFAULT_TIMEOUT),
    };
    let idle = action.idle_timeout.map(|idle| limited("idle_timeout", idle)).transpose()?.flatten();
    let per_try = action.retry_policy.as_ref().and_then(|policy| policy.per_try_timeout);
    let per_try = per_try.map(|per_try| limited("retry_policy.per_try_timeout", per_try)).transpose()?.flatten();
    let (max_stream, honour_grpc) = match &action.max_stream_duration {
        Some(duration) => stream_duration(duration).within("max_stream_duration")?,
        None => (None, false),
    };
    let honour_grpc = honour_grpc || honours_grpc("max_grpc_timeout", action.max_grpc_timeout)?;
    Ok(Timeouts { request, per_try, idle, honour_grpc, max_stream })
}

/// The longest life of a stream, and whether a call's own `grpc-timeout` counts.
fn stream_duration(durations: &MaxStreamDuration) -> Result<(Option<Duration>, bool), Fault> {
    refuse!(durations; grpc_timeout_header_offset);
    let max = durations.max_stream_duration.map(|max| limited("max_stream_duration", max)).transpose()?.flatten();
    Ok((max, honours_grpc("grpc_timeout_header_max", durations.grpc_timeout_header_max)?))
}

/// Whether a call's own `grpc-timeout` counts, from the bound on it.
fn honours_grpc(field: &str, bound: Option<protobuf::Duration>) -> Result<bool, Fault> {
    match bound.map(|bound| duration(field, bound)).transpose()? {
        Some(bound) if !bound.is_zero() => Err(Fault::new(field, "is not 0, which means as long as the call asks for")),
        bound => Ok(bound.is_some()),
    }
}

fn hedge(policy: &HedgePolicy) -> Result<bool, Fault> {
    refuse!(policy; additional_request_chance);
    match &policy.initial_requests {
        Some(initial) if initial.value != 1 => Err(Fault::new("initial_requests", "is not 1")),
        _ => Ok(policy.hedge_on_per_try_timeout),
    }
}
