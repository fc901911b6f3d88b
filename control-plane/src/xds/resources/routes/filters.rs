//! What is changed, injected and remembered on a request's way.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message as _;
use weft_api::xds::pack;
use weft_api::xds::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use weft_api::xds::pb::envoy::config::core::v3::{HeaderValue, HeaderValueOption, TypedExtensionConfig};
use weft_api::xds::pb::envoy::config::route::v3::Route as XdsRoute;
use weft_api::xds::pb::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay::FaultDelaySecifier};
use weft_api::xds::pb::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault, fault_abort::ErrorType};
use weft_api::xds::pb::envoy::extensions::filters::http::stateful_session::v3::{
    StatefulSession, StatefulSessionPerRoute, stateful_session_per_route::Override,
};
use weft_api::xds::pb::envoy::extensions::http::stateful_session::{
    cookie::v3::CookieBasedSessionState, header::v3::HeaderBasedSessionState,
};
use weft_api::xds::pb::envoy::r#type::http::v3::Cookie;
use weft_api::xds::pb::google::protobuf::Any;

use super::super::values::{duration, share};
use super::matches;
use crate::mesh::{Abort, FaultInjection, HeaderEdits, RouteFilters, Session};

/// The configurations of filters for a route, encoded, by the name of the filter.
pub(super) type PerFilter = BTreeMap<&'static str, Vec<u8>>;

/// Changes of headers, wherever a request goes.
pub(super) fn edit(route: &mut XdsRoute, filters: &RouteFilters) {
    (route.request_headers_to_add, route.request_headers_to_remove) = header_edits(&filters.request_headers);
    (route.response_headers_to_add, route.response_headers_to_remove) = header_edits(&filters.response_headers);
}

/// What is added or set, and what is removed. In a value `%` begins a command of Envoy's, and is written twice.
pub(super) fn header_edits(edits: &HeaderEdits) -> (Vec<HeaderValueOption>, Vec<String>) {
    let option = |(key, value): &(Arc<str>, Arc<str>), action: HeaderAppendAction| {
        let value = value.replace('%', "%%");
        HeaderValueOption {
            keep_empty_value: value.is_empty(),
            header: Some(HeaderValue { key: key.to_string(), value, ..HeaderValue::default() }),
            append_action: action.into(),
            ..HeaderValueOption::default()
        }
    };
    let set = edits.set.iter().map(|header| option(header, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = edits.add.iter().map(|header| option(header, HeaderAppendAction::AppendIfExistsOrAdd));
    (set.chain(add).collect(), edits.remove.iter().map(ToString::to_string).collect())
}

/// The fault filter.
pub(super) fn fault(injection: &FaultInjection) -> (&'static str, Vec<u8>) {
    let delay = injection.delay.map(|(time, per_million)| FaultDelay {
        percentage: Some(share(per_million)),
        fault_delay_secifier: Some(FaultDelaySecifier::FixedDelay(duration(time))),
    });
    let abort = injection.abort.map(|(abort, per_million)| FaultAbort {
        percentage: Some(share(per_million)),
        error_type: Some(match abort {
            Abort::Http(status) => ErrorType::HttpStatus(status.into()),
            Abort::Grpc(status) => ErrorType::GrpcStatus(status),
        }),
        ..FaultAbort::default()
    });
    let headers = injection.headers.iter().map(|(name, value)| matches::header(name, value)).collect();
    encoded("envoy.filters.http.fault", &pack(&HttpFault { delay, abort, headers, ..HttpFault::default() }))
}

/// The session filter.
pub(super) fn session(session: &Session) -> (&'static str, Vec<u8>) {
    let (name, state) = match session {
        Session::Cookie { name, ttl } => {
            let cookie =
                Cookie { name: name.to_string(), ttl: ttl.map(duration), path: "/".to_owned(), ..Cookie::default() };
            ("envoy.http.stateful_session.cookie", pack(&CookieBasedSessionState { cookie: Some(cookie) }))
        }
        Session::Header { name } => {
            ("envoy.http.stateful_session.header", pack(&HeaderBasedSessionState { name: name.to_string() }))
        }
    };
    let state = TypedExtensionConfig { name: name.to_owned(), typed_config: Some(state) };
    let session = StatefulSession { session_state: Some(state), ..StatefulSession::default() };
    let route = StatefulSessionPerRoute { r#override: Some(Override::StatefulSession(session)) };
    encoded("envoy.filters.http.stateful_session", &pack(&route))
}

fn encoded(name: &'static str, config: &Any) -> (&'static str, Vec<u8>) {
    (name, config.encode_to_vec())
}
