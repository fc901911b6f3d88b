//! Where a route sends the client instead.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::uri::Scheme;
use http::{StatusCode, Uri};

use crate::rewrite::replace_prefix;
use crate::route::PathMatch;

/// An answer that sends the client elsewhere (Gateway API's `HTTPRequestRedirectFilter`).
#[derive(Debug, Clone)]
pub struct Redirect {
    /// The scheme, if it changes.
    pub scheme: Option<Scheme>,
    /// The host without a port, if it changes.
    pub host: Option<String>,
    /// The port, if it is told.
    pub port: Option<u16>,
    /// The path, if it changes.
    pub path: Option<RedirectPath>,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// The path that a client is sent to. The query goes along, unless the new path brings its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedirectPath {
    /// The whole path. Begins with `/`.
    Full(String),
    /// Takes the place of what the rule's path matched, see [`replace_prefix`].
    Prefix(String),
}

impl Default for Redirect {
    /// 302 (Gateway API's default) to where the request came for.
    fn default() -> Self {
        Self { scheme: None, host: None, port: None, path: None, status: StatusCode::FOUND }
    }
}

impl Redirect {
    /// The value of `location` for a request that came over plain HTTP.
    ///
    /// `matched` is the condition of the request's rule, `request_host` the request's host, with or without a port, and
    /// `request_port` the port that was dialled. As Gateway API tells, the port is the one told; else, where the scheme is
    /// told, that scheme's own; else `request_port`. 80 for http and 443 for https are left out.
    ///
    /// Without any host (HTTP/1.0 need not tell it) the location is a path.
    pub fn location(&self, matched: &PathMatch, request_host: &str, request_port: u16, uri: &Uri) -> String {
        let host = self.host.as_deref().unwrap_or_else(|| without_port(request_host));
        let mut location = String::with_capacity(host.len() + uri.path().len() + uri.query().map_or(0, str::len) + 32);
        if !host.is_empty() {
            let scheme = self.scheme.as_ref().unwrap_or(&Scheme::HTTP);
            let port = self.port.or_else(|| self.scheme.as_ref().and_then(well_known)).unwrap_or(request_port);
            location.extend([scheme.as_str(), "://", host]);
            if well_known(scheme) != Some(port) {
                location.extend([":", &port.to_string()]);
            }
        }
        let path = match &self.path {
            None => Cow::Borrowed(uri.path()),
            Some(RedirectPath::Full(path)) => Cow::Borrowed(path.as_str()),
            Some(RedirectPath::Prefix(replacement)) => Cow::Owned(replace_prefix(matched, replacement, uri.path())),
        };
        if location.is_empty() && path.starts_with("//") {
            // Otherwise the path's first segment would be taken for a host.
            location.push_str("/.");
        }
        location.push_str(&path);
        if let Some(query) = uri.query().filter(|_| !path.contains('?')) {
            location.extend(["?", query]);
        }
        location
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port` without the port.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    }
}

fn well_known(scheme: &Scheme) -> Option<u16> {
    match scheme.as_str() {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}
