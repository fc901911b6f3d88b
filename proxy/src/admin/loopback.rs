//! Keeps web pages out: a page in a browser beside the proxy can reach loopback by a name of its own that resolves to
//! it (DNS rebinding), but such a request tells that name in `Host`.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

/// Refuses requests that are not addressed to loopback.
pub(super) async fn require_host(request: Request, next: Next) -> Response {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = header.or_else(|| request.uri().authority().map(|authority| authority.as_str()));
    match authority {
        Some(host) if is_loopback(host) => next.run(request).await,
        _ => {
            (StatusCode::FORBIDDEN, "the admin port answers on localhost only; check the Host header\n").into_response()
        }
    }
}

/// Whether a `Host` is `localhost` or a loopback address, with a port or without.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _port)) => address,
        None => host.split_once(':').map_or(host, |(name, _port)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests;
