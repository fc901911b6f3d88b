//! What becomes of a request, as Envoy's `RouteAction` and `RedirectAction`.

use std::time::Duration;

use weft_api::xds::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use weft_api::xds::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use weft_api::xds::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HostRewriteSpecifier, MaxStreamDuration, RequestMirrorPolicy,
};
use weft_api::xds::pb::envoy::config::route::v3::weighted_cluster::{ClusterWeight, cluster_weight};
use weft_api::xds::pb::envoy::config::route::v3::{
    RedirectAction, RouteAction as XdsAction, WeightedCluster, route::Action,
};
use weft_api::xds::pb::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, RegexMatcher};

use super::super::values::{duration, number, share};
use super::{filters, retry};
use crate::mesh::{Backend, Forward, Mirror, PathEdit, Redirect, TrafficPolicy};

/// A cluster that requests go to.
pub(super) struct To<'a> {
    name: String,
    weight: u32,
    /// What is changed on the way there.
    filters: Option<&'a Backend>,
}

impl<'a> To<'a> {
    pub(super) fn plain(name: String, weight: u32) -> Self {
        Self { name, weight, filters: None }
    }

    pub(super) fn filtered(name: String, backend: &'a Backend) -> Self {
        Self { name, weight: backend.weight, filters: Some(backend).filter(|backend| backend.has_filters()) }
    }
}

/// One cluster, unless something is changed on the way to it, or several by weight.
pub(super) fn to_clusters(clusters: &[To<'_>]) -> ClusterSpecifier {
    if let [To { name, filters: None, .. }] = clusters {
        return ClusterSpecifier::Cluster(name.clone());
    }
    let clusters = clusters.iter().map(|to| {
        let mut cluster =
            ClusterWeight { name: to.name.clone(), weight: Some(number(to.weight)), ..ClusterWeight::default() };
        if let Some(backend) = to.filters {
            (cluster.request_headers_to_add, cluster.request_headers_to_remove) =
                filters::header_edits(&backend.request_headers);
            (cluster.response_headers_to_add, cluster.response_headers_to_remove) =
                filters::header_edits(&backend.response_headers);
            let host =
                |host: &std::sync::Arc<str>| cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host.to_string());
            cluster.host_rewrite_specifier = backend.host.as_ref().map(host);
        }
        cluster
    });
    ClusterSpecifier::WeightedClusters(WeightedCluster { clusters: clusters.collect(), ..WeightedCluster::default() })
}

/// A request that is forwarded. A call's own `grpc-timeout` always counts.
#[allow(deprecated, reason = "Envoy reads no `timeout` beside the field that takes the place of `max_grpc_timeout`")]
pub(super) fn forward(
    to: ClusterSpecifier,
    rule: &Forward,
    mirrors: Vec<&Mirror>,
    policy: Option<&TrafficPolicy>,
) -> Action {
    let requests = policy.map(|policy| policy.requests).unwrap_or_default();
    let attempts = retry::Attempts::of(rule, policy);
    let (prefix_rewrite, regex_rewrite) = match &rule.path {
        None => Default::default(),
        Some(PathEdit::Prefix(to)) => (prefix(to), None),
        Some(PathEdit::Full(to)) => (String::new(), Some(whole(to))),
    };
    // The newer way to say that `grpc-timeout` counts. Envoy reads no `timeout` beside it, so that it is used only where
    // there is no older way to say the rest.
    let max_stream_duration = requests.max_stream_age.map(|age| MaxStreamDuration {
        max_stream_duration: Some(duration(age)),
        grpc_timeout_header_max: Some(duration(Duration::ZERO)),
        grpc_timeout_header_offset: None,
    });
    Action::Route(XdsAction {
        cluster_specifier: Some(to),
        host_rewrite_specifier: rule
            .host
            .as_ref()
            .map(|host| HostRewriteSpecifier::HostRewriteLiteral(host.to_string())),
        prefix_rewrite,
        regex_rewrite,
        request_mirror_policies: mirrors.into_iter().map(mirror).collect(),
        timeout: Some(duration(rule.timeouts.request.or(requests.timeout).unwrap_or_default())),
        idle_timeout: requests.idle_timeout.map(duration),
        max_grpc_timeout: max_stream_duration.is_none().then(|| duration(Duration::ZERO)),
        max_stream_duration,
        retry_policy: attempts.policy,
        hedge_policy: attempts.hedge,
        ..XdsAction::default()
    })
}

pub(super) fn redirect(redirect: &Redirect) -> Action {
    let code = match redirect.status {
        301 => RedirectResponseCode::MovedPermanently,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::Found,
    };
    Action::Redirect(RedirectAction {
        scheme_rewrite_specifier: redirect
            .scheme
            .as_ref()
            .map(|scheme| SchemeRewriteSpecifier::SchemeRedirect(scheme.to_string())),
        host_redirect: redirect.host.as_deref().unwrap_or_default().to_owned(),
        port_redirect: redirect.port.map_or(0, u32::from),
        path_rewrite_specifier: redirect.path.as_ref().map(|path| match path {
            PathEdit::Full(path) => PathRewriteSpecifier::PathRedirect(path.to_string()),
            PathEdit::Prefix(to) => PathRewriteSpecifier::PrefixRewrite(prefix(to)),
        }),
        response_code: code.into(),
        ..RedirectAction::default()
    })
}

/// A prefix that is taken away leaves the root.
fn prefix(to: &str) -> String {
    if to.is_empty() { "/".to_owned() } else { to.to_owned() }
}

/// The path as a whole. In a substitution a backslash is special.
fn whole(to: &str) -> RegexMatchAndSubstitute {
    RegexMatchAndSubstitute {
        pattern: Some(RegexMatcher { regex: "^/.*$".to_owned(), ..RegexMatcher::default() }),
        substitution: to.replace('\\', "\\\\"),
    }
}

fn mirror(to: &Mirror) -> RequestMirrorPolicy {
    let fraction = RuntimeFractionalPercent { default_value: Some(share(to.per_million)), runtime_key: String::new() };
    RequestMirrorPolicy {
        cluster: super::name_of(&to.service, to.port),
        runtime_fraction: Some(fraction),
        disable_shadow_host_suffix_append: true,
        ..RequestMirrorPolicy::default()
    }
}
