//! What becomes of a request, in a line.

use pb::envoy::config::core::v3::{HeaderValueOption, header_value_option::HeaderAppendAction};
use pb::envoy::config::route::v3::redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier};
use pb::envoy::config::route::v3::route_action::{ClusterSpecifier, HostRewriteSpecifier};
use pb::envoy::config::route::v3::weighted_cluster::{ClusterWeight, cluster_weight};
use pb::envoy::config::route::v3::{RedirectAction, RetryPolicy, Route, RouteAction, route::Action};
use pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use pb::google::protobuf::{Duration, UInt32Value};

use super::*;

pub(super) fn action(route: &Route) -> String {
    let mut text = match route.action.as_ref().unwrap() {
        Action::DirectResponse(response) => response.status.to_string(),
        Action::Redirect(redirect) => self::redirect(redirect),
        Action::Route(action) => forward(action),
        other => panic!("{other:?}"),
    };
    text += &headers("request", &route.request_headers_to_add, &route.request_headers_to_remove);
    text += &headers("response", &route.response_headers_to_add, &route.response_headers_to_remove);
    let mut filters: Vec<_> = route.typed_per_filter_config.keys().cloned().collect();
    filters.sort();
    filters.iter().for_each(|name| text += &format!(" +{name}"));
    text
}

#[allow(deprecated, reason = "the field that is sent")]
fn forward(action: &RouteAction) -> String {
    let mut text = match action.cluster_specifier.as_ref().unwrap() {
        ClusterSpecifier::Cluster(name) => name.clone(),
        ClusterSpecifier::WeightedClusters(weighted) => {
            weighted.clusters.iter().map(backend).collect::<Vec<_>>().join(", ")
        }
        other => panic!("{other:?}"),
    };
    let timeout = action.timeout.as_ref().unwrap();
    text += &format!(" within {}s{}ns", timeout.seconds, timeout.nanos);
    let stream = action.max_stream_duration;
    let counts = stream.map_or(action.max_grpc_timeout, |stream| stream.grpc_timeout_header_max);
    assert_eq!(counts, Some(Duration::default()), "grpc-timeout always counts");
    action.idle_timeout.iter().for_each(|time| text += &format!(" idle {}", time.seconds));
    if let Some(age) = stream.and_then(|stream| stream.max_stream_duration) {
        text += &format!(" age {}", age.seconds);
    }
    if let Some(HostRewriteSpecifier::HostRewriteLiteral(host)) = &action.host_rewrite_specifier {
        text += &format!(" host {host}");
    }
    if !action.prefix_rewrite.is_empty() {
        text += &format!(" prefix {}", action.prefix_rewrite);
    }
    if let Some(rewrite) = &action.regex_rewrite {
        text += &format!(" s{}{}", rewrite.pattern.as_ref().unwrap().regex, rewrite.substitution);
    }
    for mirror in &action.request_mirror_policies {
        assert!(mirror.disable_shadow_host_suffix_append);
        let share = mirror.runtime_fraction.as_ref().unwrap().default_value.as_ref().unwrap();
        text += &format!(" mirror {} {}", self::share(share), mirror.cluster);
    }
    text += &action.retry_policy.as_ref().map(retry).unwrap_or_default();
    if action.hedge_policy.as_ref().is_some_and(|hedge| hedge.hedge_on_per_try_timeout) {
        text += " hedge";
    }
    text
}

fn backend(cluster: &ClusterWeight) -> String {
    let weight = cluster.weight.as_ref().unwrap().value;
    let mut text = format!("{weight} {}", cluster.name);
    text += &headers("request", &cluster.request_headers_to_add, &cluster.request_headers_to_remove);
    text += &headers("response", &cluster.response_headers_to_add, &cluster.response_headers_to_remove);
    if let Some(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host)) = &cluster.host_rewrite_specifier {
        text += &format!(" host {host}");
    }
    text
}

fn redirect(redirect: &RedirectAction) -> String {
    let code = redirect.response_code().as_str_name();
    let mut text = format!("{code} {}:{}", redirect.host_redirect, redirect.port_redirect);
    if let Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) = &redirect.scheme_rewrite_specifier {
        text += &format!(" scheme {scheme}");
    }
    match &redirect.path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) => text += &format!(" path {path}"),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => text += &format!(" prefix {prefix}"),
        None => {}
        other => panic!("{other:?}"),
    }
    text
}

fn retry(policy: &RetryPolicy) -> String {
    let number = |value: &Option<UInt32Value>| value.as_ref().unwrap().value;
    let ms = |time: &Duration| time.seconds * 1000 + i64::from(time.nanos) / 1_000_000;
    let mut text = format!(" retry {}x {}", number(&policy.num_retries), policy.retry_on);
    if !policy.retriable_status_codes.is_empty() {
        text += &format!(" {:?}", policy.retriable_status_codes);
    }
    let waits = policy.retry_back_off.as_ref().unwrap();
    text += &format!(" after {}-{}ms", ms(&waits.base_interval.unwrap()), ms(&waits.max_interval.unwrap()));
    policy.per_try_timeout.iter().for_each(|time| text += &format!(" each {}ms", ms(time)));
    let methods = policy.retriable_request_headers.iter().map(|header| {
        use pb::envoy::config::route::v3::header_matcher::HeaderMatchSpecifier;
        let Some(HeaderMatchSpecifier::StringMatch(value)) = &header.header_match_specifier else { panic!() };
        assert_eq!(header.name, ":method");
        read_text(value)
    });
    text += &methods.map(|method| format!(" {method}")).collect::<String>();
    assert_eq!(policy.rate_limited_retry_back_off.as_ref().unwrap().reset_headers.len(), 2);
    assert_eq!(policy.retry_host_predicate.len(), 1);
    text
}

fn headers(kind: &str, add: &[HeaderValueOption], remove: &[String]) -> String {
    let added = add.iter().map(|option| {
        let header = option.header.as_ref().unwrap();
        let sign = match HeaderAppendAction::try_from(option.append_action).unwrap() {
            HeaderAppendAction::OverwriteIfExistsOrAdd => "=",
            HeaderAppendAction::AppendIfExistsOrAdd => "+=",
            other => panic!("{other:?}"),
        };
        format!("{}{sign}{}", header.key, header.value)
    });
    let all: Vec<_> = added.chain(remove.iter().map(|name| format!("-{name}"))).collect();
    if all.is_empty() { String::new() } else { format!(" {kind} [{}]", all.join(" ")) }
}

fn share(share: &FractionalPercent) -> String {
    let of = match DenominatorType::try_from(share.denominator).unwrap() {
        DenominatorType::Hundred => "100",
        DenominatorType::TenThousand => "10000",
        DenominatorType::Million => "1000000",
    };
    format!("{}/{of}", share.numerator)
}
