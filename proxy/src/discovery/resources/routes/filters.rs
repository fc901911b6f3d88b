//! `typed_per_filter_config` -> injected faults and sessions.

use std::collections::HashMap;
use std::time::Duration;

use http::{HeaderName, StatusCode};
use weft_api::xds;
use weft_api::xds::pb::envoy::extensions::filters::common::fault::v3::FaultDelay;
use weft_api::xds::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
use weft_api::xds::pb::envoy::extensions::filters::http::fault::v3::fault_abort::ErrorType;
use weft_api::xds::pb::envoy::extensions::filters::http::fault::v3::{FaultAbort, HttpFault};
use weft_api::xds::pb::envoy::extensions::filters::http::stateful_session::v3::stateful_session_per_route::Override;
use weft_api::xds::pb::envoy::extensions::filters::http::stateful_session::v3::{
    StatefulSession, StatefulSessionPerRoute,
};
use weft_api::xds::pb::envoy::extensions::http::stateful_session::cookie::v3::CookieBasedSessionState;
use weft_api::xds::pb::envoy::extensions::http::stateful_session::header::v3::HeaderBasedSessionState;
use weft_api::xds::pb::google::protobuf::Any;
use weft_rules::fault::{Abort, FaultPolicy};
use weft_rules::session::SessionPolicy;
use weft_rules::share::Share;

use super::matches;
use crate::discovery::resources::fault::{Fault, Within as _, refuse};
use crate::discovery::resources::{above_zero, duration, share, unpack};

/// The filter that injects faults.
pub(in crate::discovery::resources) const FAULT: &str = "envoy.filters.http.fault";
/// The filter that keeps clients with their endpoints.
pub(in crate::discovery::resources) const SESSION: &str = "envoy.filters.http.stateful_session";

/// What the filters do for one route.
#[derive(Default)]
pub(super) struct PerRoute {
    pub(super) fault: Option<FaultPolicy>,
    pub(super) session: Option<SessionPolicy>,
}

/// Checks the filters' configurations for a route.
pub(super) fn per_route(configurations: &HashMap<String, Any>) -> Result<PerRoute, Fault> {
    let mut result = PerRoute::default();
    for (name, any) in configurations {
        let mut parse = || match name.as_str() {
            FAULT => {
                result.fault = Some(fault(&unpack(any)?)?);
                Ok(())
            }
            SESSION => {
                result.session = session(&unpack(any)?)?;
                Ok(())
            }
            _ => Err(Fault::here("is not supported by this proxy")),
        };
        parse().within(&format!("typed_per_filter_config[{name}]"))?;
    }
    Ok(result)
}

fn fault(fault: &HttpFault) -> Result<FaultPolicy, Fault> {
    refuse!(fault; upstream_cluster, downstream_nodes, max_active_faults, response_rate_limit, delay_percent_runtime,
        abort_percent_runtime, delay_duration_runtime, abort_http_status_runtime, max_active_faults_runtime,
        response_rate_limit_percent_runtime, abort_grpc_status_runtime);
    let headers = fault.headers.iter().enumerate();
    Ok(FaultPolicy {
        delay: fault.delay.as_ref().map(|delay| self::delay(delay).within("delay")).transpose()?,
        abort: fault.abort.as_ref().map(|abort| self::abort(abort).within("abort")).transpose()?,
        headers: headers
            .map(|(index, matcher)| matches::header(matcher).within_item("headers", index))
            .collect::<Result<_, _>>()?,
    })
}

fn delay(delay: &FaultDelay) -> Result<(Duration, Share), Fault> {
    let time = match &delay.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(time)) => above_zero("fixed_delay", *time)?,
        Some(FaultDelaySecifier::HeaderDelay(_)) => {
            return Err(Fault::new("header_delay", "is not supported by this proxy"));
        }
        None => return Err(Fault::new("fixed_delay", "is missing")),
    };
    Ok((time, share("percentage", delay.percentage.as_ref())?))
}

fn abort(abort: &FaultAbort) -> Result<(Abort, Share), Fault> {
    refuse!(abort; response_body);
    let answer = match abort.error_type {
        Some(ErrorType::HttpStatus(code)) => {
            let status = u16::try_from(code).ok().filter(|code| (200..600).contains(code));
            let status = status.and_then(|code| StatusCode::from_u16(code).ok());
            let reason = || Fault::new("http_status", format!("{code} is not a final HTTP status"));
            Abort::Http(status.ok_or_else(reason)?)
        }
        Some(ErrorType::GrpcStatus(code)) if code <= 16 => Abort::Grpc(code),
        Some(ErrorType::GrpcStatus(code)) => {
            return Err(Fault::new("grpc_status", format!("{code} is not a gRPC status")));
        }
        Some(ErrorType::HeaderAbort(_)) => {
            return Err(Fault::new("header_abort", "is not supported by this proxy"));
        }
        None => return Err(Fault::here("has no http_status or grpc_status")),
    };
    Ok((answer, share("percentage", abort.percentage.as_ref())?))
}

fn session(per_route: &StatefulSessionPerRoute) -> Result<Option<SessionPolicy>, Fault> {
    match &per_route.r#override {
        Some(Override::StatefulSession(session)) => state(session).within("stateful_session").map(Some),
        Some(Override::Disabled(true)) => Ok(None),
        Some(Override::Disabled(false)) | None => Err(Fault::here("has no stateful_session")),
    }
}

fn state(session: &StatefulSession) -> Result<SessionPolicy, Fault> {
    refuse!(session; strict, status_on_strict_destination_not_found);
    let any = session.session_state.as_ref().and_then(|state| state.typed_config.as_ref());
    let any = any.ok_or_else(|| Fault::new("session_state.typed_config", "is missing"))?;
    if let Ok(state) = xds::unpack::<CookieBasedSessionState>(any) {
        return cookie(&state).within("session_state.typed_config");
    }
    let state = xds::unpack::<HeaderBasedSessionState>(any)
        .map_err(|reason| Fault::here(format!("{reason}, or a CookieBasedSessionState")));
    state
        .and_then(|state| {
            let name = HeaderName::from_bytes(state.name.as_bytes());
            let name = name.map_err(|_| Fault::new("name", format!("{:?} is not a header's name", state.name)))?;
            Ok(SessionPolicy::Header { name })
        })
        .within("session_state.typed_config")
}

fn cookie(state: &CookieBasedSessionState) -> Result<SessionPolicy, Fault> {
    let cookie = state.cookie.as_ref().ok_or_else(|| Fault::new("cookie", "is missing"))?;
    let check = || {
        refuse!(cookie; attributes);
        if !is_token(&cookie.name) {
            return Err(Fault::new("name", format!("{:?} is not a cookie's name", cookie.name)));
        }
        if cookie.path.contains([';', ',']) || cookie.path.chars().any(char::is_control) {
            return Err(Fault::new("path", format!("{:?} is not a cookie's path", cookie.path)));
        }
        let ttl = cookie.ttl.map(|ttl| duration("ttl", ttl)).transpose()?;
        Ok(SessionPolicy::Cookie {
            name: cookie.name.clone(),
            path: cookie.path.clone(),
            ttl: ttl.filter(|ttl| !ttl.is_zero()),
        })
    };
    check().within("cookie")
}

/// Whether a text may name a cookie (RFC 6265, 4.1.1): an HTTP token, as header names are.
pub(in crate::discovery::resources) fn is_token(name: &str) -> bool {
    HeaderName::from_bytes(name.as_bytes()).is_ok()
}
