use std::time::Duration;

use weft_api::xds::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use weft_api::xds::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, RuntimeFractionalPercent, TypedExtensionConfig,
};
use weft_api::xds::pb::envoy::config::route::v3::redirect_action::{PathRewriteSpecifier, SchemeRewriteSpecifier};
use weft_api::xds::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HostRewriteSpecifier, MaxStreamDuration, RequestMirrorPolicy,
};
use weft_api::xds::pb::envoy::config::route::v3::weighted_cluster::cluster_weight;
use weft_api::xds::pb::envoy::config::route::v3::{HedgePolicy, RedirectAction, RetryPolicy, RouteAction};
use weft_api::xds::pb::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier};
use weft_api::xds::pb::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType};
use weft_api::xds::pb::envoy::extensions::filters::http::stateful_session::v3::{
    StatefulSession, StatefulSessionPerRoute, stateful_session_per_route::Override,
};
use weft_api::xds::pb::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use weft_api::xds::pb::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use weft_api::xds::pb::envoy::r#type::http::v3::Cookie;
use weft_api::xds::pb::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, RegexMatcher};
use weft_api::xds::pb::envoy::r#type::v3::FractionalPercent;
use weft_api::xds::pb::google::protobuf::{Any, Duration as XdsDuration, value::Kind};
use weft_rules::fault::Abort;
use weft_rules::redirect::RedirectPath;
use weft_rules::rewrite::PathRewrite;
use weft_rules::route::Forward;
use weft_rules::session::SessionPolicy;
use weft_rules::share::Share;

use super::*;
use crate::discovery::resources::tests::{NAME, refused, rules};
use crate::discovery::testing as make;

const AT: &str = "virtual_hosts[0].routes[0]";

fn changed(change: impl FnOnce(&mut Route)) -> RouteConfiguration {
    let mut route = make::route(make::prefix("/"), &[("a:1", 1)]);
    change(&mut route);
    make::routes(NAME, vec![route])
}

fn action(change: impl FnOnce(&mut RouteAction)) -> RouteConfiguration {
    changed(|route| match &mut route.action {
        Some(route::Action::Route(action)) => change(action),
        other => panic!("{other:?}"),
    })
}

fn redirect(redirect: RedirectAction) -> RouteConfiguration {
    changed(|route| route.action = Some(route::Action::Redirect(redirect)))
}

fn filter(name: &str, config: Any) -> RouteConfiguration {
    changed(|route| drop(route.typed_per_filter_config.insert(name.to_owned(), config)))
}

fn rule(configuration: &RouteConfiguration) -> Rule<Arc<str>> {
    rules(configuration).rules()[0].clone()
}

fn forward(configuration: &RouteConfiguration) -> Forward<Arc<str>> {
    match rule(configuration).action {
        Action::Forward(forward) => *forward,
        other => panic!("{other:?}"),
    }
}

fn option(key: &str, value: &str, action: HeaderAppendAction) -> HeaderValueOption {
    let header = HeaderValue { key: key.to_owned(), value: value.to_owned(), ..HeaderValue::default() };
    HeaderValueOption { header: Some(header), append_action: action.into(), ..HeaderValueOption::default() }
}

fn seconds(seconds: i64) -> Option<XdsDuration> {
    Some(XdsDuration { seconds, nanos: 0 })
}

fn of_a_hundred(numerator: u32) -> Option<FractionalPercent> {
    Some(FractionalPercent { numerator, denominator: 0 })
}

#[test]
fn a_rule_says_which_manifest_it_is_of() {
    let manifest = Kind::StringValue("HTTPRoute shop/api rules[2]".to_owned());
    let metadata = xds::metadata([(xds::METADATA_MANIFEST, manifest)]);
    assert_eq!(&*rule(&changed(|route| route.metadata = Some(metadata))).manifest, "HTTPRoute shop/api rules[2]");
    assert_eq!(&*rule(&changed(|_| {})).manifest, "");
}

#[test]
fn grpc_is_a_condition() {
    let grpc = changed(|route| route.r#match.as_mut().unwrap().grpc = Some(Default::default()));
    assert!(rule(&grpc).matcher.grpc);
}

#[test]
fn headers_are_set_added_and_removed() {
    let edited = rule(&changed(|route| {
        route.request_headers_to_add = vec![
            option("x-set", "1", HeaderAppendAction::OverwriteIfExistsOrAdd),
            option("x-add", "50 %%", HeaderAppendAction::AppendIfExistsOrAdd),
            option("x-empty", "", HeaderAppendAction::AppendIfExistsOrAdd),
        ];
        route.response_headers_to_remove = vec!["Server".to_owned()];
    }));
    let request = edited.filters.request_headers;
    assert_eq!((request.set[0].0.as_str(), request.set[0].1.to_str().unwrap()), ("x-set", "1"));
    assert_eq!(request.add.len(), 1, "what is empty is not sent");
    assert_eq!(request.add[0].1, "50 %");
    assert_eq!(edited.filters.response_headers.remove[0], "server");
}

#[test]
fn headers_that_may_not_be_edited_are_refused() {
    let adding = |key: &str, value: &str, action| {
        changed(|route| {
            route.request_headers_to_add = vec![option(key, value, action)];
        })
    };
    let set = HeaderAppendAction::OverwriteIfExistsOrAdd;
    let at = format!("{AT}.request_headers_to_add[0]");
    for name in ["host", "content-length", "transfer-encoding", "connection", ":path", "weft-destination", "a b"] {
        refused(NAME, &adding(name, "1", set), &format!("{at}.header.key"));
    }
    for value in ["%REQ(:path)%", "a %PROTOCOL% b", "%%%UPSTREAM_HOST%", "a\nb"] {
        refused(NAME, &adding("x-a", value, set), &format!("{at}.header.value"));
    }
    for value in ["50%", "%%REQ(x)%%", "100 % sure", "%d%"] {
        rule(&adding("x-a", value, set));
    }
    refused(NAME, &adding("x-a", "1", HeaderAppendAction::AddIfAbsent), &format!("{at}.append_action"));
    let removing = changed(|route| route.response_headers_to_remove = vec!["x-a".to_owned(), "Host".to_owned()]);
    refused(NAME, &removing, &format!("{AT}.response_headers_to_remove[1]"));
}

proptest::proptest! {
    #[test]
    fn any_text_is_a_value_or_a_fault(text in ".*|(%|[A-Z]|\\(|\\)|é){0,12}") {
        let option = option("x-a", &text, HeaderAppendAction::OverwriteIfExistsOrAdd);
        let edited = edits("request", &[option], &[]);
        if let Ok(edited) = edited && let Some((_, value)) = edited.set.first() {
            assert_eq!(value.as_bytes(), text.replace("%%", "%").as_bytes());
        }
    }
}

#[test]
fn a_backend_has_its_own_filters() {
    let edited = forward(&action(|action| match &mut action.cluster_specifier {
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let cluster = &mut weighted.clusters[0];
            cluster.request_headers_to_remove = vec!["x-a".to_owned()];
            let host = "v2.shop".to_owned();
            cluster.host_rewrite_specifier = Some(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral(host));
        }
        other => panic!("{other:?}"),
    }));
    let (backend, _) = edited.backends.iter().next().unwrap();
    assert_eq!(backend.host.as_ref().unwrap(), "v2.shop");
    assert_eq!(backend.request_headers.remove[0], "x-a");
}

#[test]
fn host_and_path_are_rewritten() {
    let rewritten = forward(&action(|action| {
        action.prefix_rewrite = "/b".to_owned();
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral("other:8080".to_owned()));
    }));
    assert_eq!(rewritten.rewrite.host.unwrap(), "other:8080");
    assert!(matches!(rewritten.rewrite.path, Some(PathRewrite::Prefix(prefix)) if prefix == "/b"));

    let regex = |pattern: &str, substitution: &str| {
        let pattern = Some(RegexMatcher { regex: pattern.to_owned(), ..RegexMatcher::default() });
        RegexMatchAndSubstitute { pattern, substitution: substitution.to_owned() }
    };
    let full = forward(&action(|action| action.regex_rewrite = Some(regex("^/.*$", r"/a\\b"))));
    assert!(matches!(full.rewrite.path, Some(PathRewrite::Full(path)) if path == r"/a\b"));

    let at = format!("{AT}.route");
    refused(NAME, &action(|action| action.prefix_rewrite = "b".to_owned()), &format!("{at}.prefix_rewrite"));
    refused(NAME, &action(|action| action.regex_rewrite = Some(regex("([", "/"))), &format!("{at}.regex_rewrite"));
    refused(
        NAME,
        &action(|action| action.regex_rewrite = Some(regex("^/.*$", r"/\9"))),
        &format!("{at}.regex_rewrite"),
    );
    let host = |host: &str| Some(HostRewriteSpecifier::HostRewriteLiteral(host.to_owned()));
    refused(NAME, &action(|action| action.host_rewrite_specifier = host("a b")), &format!("{at}.host_rewrite_literal"));
    let header = Some(HostRewriteSpecifier::HostRewriteHeader("x-host".to_owned()));
    refused(NAME, &action(|action| action.host_rewrite_specifier = header), &at);
}

#[test]
fn mirrors_have_their_share() {
    let mirror = RequestMirrorPolicy {
        cluster: "shop/shadow:80".to_owned(),
        runtime_fraction: Some(RuntimeFractionalPercent { default_value: of_a_hundred(25), ..Default::default() }),
        disable_shadow_host_suffix_append: true,
        ..RequestMirrorPolicy::default()
    };
    let all = RequestMirrorPolicy { runtime_fraction: None, ..mirror.clone() };
    let mirrored = forward(&action(|action| action.request_mirror_policies = vec![mirror.clone(), all]));
    let shares: Vec<_> = mirrored.mirrors.iter().map(|mirror| (mirror.target.as_ref(), mirror.share)).collect();
    assert_eq!(shares, [("shop/shadow:80", Share::from(25, 100)), ("shop/shadow:80", Share::ALL)]);

    let at = format!("{AT}.route.request_mirror_policies[0]");
    let bad = |bad: RequestMirrorPolicy| action(|action| action.request_mirror_policies = vec![bad]);
    let suffixed = RequestMirrorPolicy { disable_shadow_host_suffix_append: false, ..mirror.clone() };
    refused(NAME, &bad(suffixed), &format!("{at}.disable_shadow_host_suffix_append"));
    refused(NAME, &bad(RequestMirrorPolicy { cluster: String::new(), ..mirror }), &format!("{at}.cluster"));
}

#[test]
#[allow(deprecated, reason = "as where it is read")]
fn times_are_those_of_the_route_its_attempts_and_its_streams() {
    let timed = forward(&action(|action| {
        action.timeout = seconds(0);
        action.idle_timeout = seconds(300);
        action.retry_policy = Some(RetryPolicy { per_try_timeout: seconds(2), ..RetryPolicy::default() });
        let max_stream_duration = seconds(600);
        let grpc_timeout_header_max = seconds(0);
        let durations = MaxStreamDuration { max_stream_duration, grpc_timeout_header_max, ..Default::default() };
        action.max_stream_duration = Some(durations);
        action.hedge_policy = Some(HedgePolicy { hedge_on_per_try_timeout: true, ..HedgePolicy::default() });
    }));
    let timeouts = timed.timeouts;
    assert_eq!((timeouts.request, timeouts.per_try), (None, Some(Duration::from_secs(2))));
    assert_eq!((timeouts.idle, timeouts.max_stream), (Some(Duration::from_secs(300)), Some(Duration::from_secs(600))));
    assert!(timeouts.honour_grpc && timed.hedge);
    assert!(forward(&action(|action| action.max_grpc_timeout = seconds(0))).timeouts.honour_grpc);
    assert!(!forward(&changed(|_| {})).timeouts.honour_grpc);

    let at = format!("{AT}.route");
    refused(NAME, &action(|action| action.idle_timeout = seconds(-1)), &format!("{at}.idle_timeout"));
    refused(NAME, &action(|action| action.max_grpc_timeout = seconds(9)), &format!("{at}.max_grpc_timeout"));
    let durations = MaxStreamDuration { grpc_timeout_header_max: seconds(9), ..Default::default() };
    let path = format!("{at}.max_stream_duration.grpc_timeout_header_max");
    refused(NAME, &action(|action| action.max_stream_duration = Some(durations)), &path);
    let twice = HedgePolicy { initial_requests: make::uint(2), ..HedgePolicy::default() };
    refused(NAME, &action(|action| action.hedge_policy = Some(twice)), &format!("{at}.hedge_policy.initial_requests"));
}

#[test]
fn redirects_are_read_in_all_their_parts() {
    let full = RedirectAction {
        host_redirect: "example.com".to_owned(),
        port_redirect: 8443,
        response_code: 4,
        scheme_rewrite_specifier: Some(SchemeRewriteSpecifier::SchemeRedirect("https".to_owned())),
        path_rewrite_specifier: Some(PathRewriteSpecifier::PrefixRewrite("/new".to_owned())),
        ..RedirectAction::default()
    };
    let Action::Redirect(redirected) = rule(&redirect(full)).action else { panic!("no redirect") };
    assert_eq!((redirected.host.as_deref(), redirected.port), (Some("example.com"), Some(8443)));
    assert_eq!((redirected.status.as_u16(), redirected.scheme.unwrap().as_str()), (308, "https"));
    assert_eq!(redirected.path, Some(RedirectPath::Prefix("/new".to_owned())));

    let at = format!("{AT}.redirect");
    let bad = |change: &dyn Fn(&mut RedirectAction)| {
        let mut bad = RedirectAction::default();
        change(&mut bad);
        redirect(bad)
    };
    refused(NAME, &bad(&|bad| bad.port_redirect = 65_536), &format!("{at}.port_redirect"));
    refused(NAME, &bad(&|bad| bad.response_code = 9), &format!("{at}.response_code"));
    refused(NAME, &bad(&|bad| bad.strip_query = true), &format!("{at}.strip_query"));
    refused(NAME, &bad(&|bad| bad.host_redirect = "a/b".to_owned()), &format!("{at}.host_redirect"));
    let scheme = |bad: &mut RedirectAction| {
        bad.scheme_rewrite_specifier = Some(SchemeRewriteSpecifier::SchemeRedirect("ftp".to_owned()));
    };
    refused(NAME, &bad(&scheme), &format!("{at}.scheme_redirect"));
    let path = |bad: &mut RedirectAction| {
        bad.path_rewrite_specifier = Some(PathRewriteSpecifier::PathRedirect("/a\r\nset-cookie: b".to_owned()));
    };
    refused(NAME, &bad(&path), &format!("{at}.path_redirect"));
}

#[test]
fn faults_are_injected_by_share_and_header() {
    let delay = FaultDelay {
        percentage: of_a_hundred(10),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(XdsDuration { seconds: 2, nanos: 0 })),
    };
    let abort = FaultAbort {
        percentage: Some(FractionalPercent { numerator: 15, denominator: 1 }),
        error_type: Some(ErrorType::HttpStatus(503)),
        ..FaultAbort::default()
    };
    let fault = HttpFault { delay: Some(delay), abort: Some(abort.clone()), ..HttpFault::default() };
    let policy = rule(&filter(FAULT, xds::pack(&fault))).filters.fault.unwrap();
    assert_eq!(policy.delay, Some((Duration::from_secs(2), Share::from(10, 100))));
    assert!(matches!(policy.abort, Some((Abort::Http(status), share))
        if status.as_u16() == 503 && share == Share::from(15, 10_000)));

    let at = format!("{AT}.typed_per_filter_config[{FAULT}]");
    let bad = |fault: HttpFault| filter(FAULT, xds::pack(&fault));
    let status = FaultAbort { error_type: Some(ErrorType::HttpStatus(99)), ..abort.clone() };
    refused(NAME, &bad(HttpFault { abort: Some(status), ..HttpFault::default() }), &format!("{at}.abort.http_status"));
    let status = FaultAbort { error_type: Some(ErrorType::GrpcStatus(17)), ..abort };
    refused(NAME, &bad(HttpFault { abort: Some(status), ..HttpFault::default() }), &format!("{at}.abort.grpc_status"));
    let none = FaultDelay { fault_delay_secifier: None, ..delay };
    refused(NAME, &bad(HttpFault { delay: Some(none), ..HttpFault::default() }), &format!("{at}.delay.fixed_delay"));
    let active = HttpFault { max_active_faults: make::uint(1), ..HttpFault::default() };
    refused(NAME, &bad(active), &format!("{at}.max_active_faults"));
    refused(
        NAME,
        &filter("envoy.filters.http.lua", Any::default()),
        &format!("{AT}.typed_per_filter_config[envoy.filters.http.lua]"),
    );
}

fn session(state: Any) -> RouteConfiguration {
    let state = TypedExtensionConfig { name: "state".to_owned(), typed_config: Some(state) };
    let session = StatefulSession { session_state: Some(state), ..StatefulSession::default() };
    filter(SESSION, xds::pack(&StatefulSessionPerRoute { r#override: Some(Override::StatefulSession(session)) }))
}

#[test]
fn sessions_are_kept_in_a_cookie_or_a_header() {
    let cookie = Cookie { name: "s".to_owned(), ttl: seconds(60), path: "/a".to_owned(), ..Cookie::default() };
    let state = |cookie: Cookie| xds::pack(&CookieBasedSessionState { cookie: Some(cookie) });
    assert_eq!(
        forward(&session(state(cookie.clone()))).session,
        Some(SessionPolicy::Cookie { name: "s".into(), path: "/a".into(), ttl: Some(Duration::from_secs(60)) })
    );
    let header = HeaderBasedSessionState { name: "X-Session".to_owned() };
    let expected = SessionPolicy::Header { name: "x-session".parse().unwrap() };
    assert_eq!(forward(&session(xds::pack(&header))).session, Some(expected));

    let at = format!("{AT}.typed_per_filter_config[{SESSION}].stateful_session.session_state.typed_config");
    refused(NAME, &session(state(Cookie { name: "a b".to_owned(), ..cookie.clone() })), &format!("{at}.cookie.name"));
    refused(NAME, &session(state(Cookie { path: "/;".to_owned(), ..cookie })), &format!("{at}.cookie.path"));
    refused(NAME, &session(xds::pack(&HeaderBasedSessionState::default())), &format!("{at}.name"));
}
