//! Which headers end at this hop.
//!
//! What stays keeps its order. `http::HeaderMap` loses the order when single headers are removed (the last one takes the
//! place of the one removed), so maps are rebuilt; most messages have nothing to remove and are left as they are.

#[cfg(test)]
mod tests;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue};

/// Removed wherever they appear (RFC 9110, 7.6.1). `te` and `upgrade` are looked at one by one. `proxy-authenticate` and
/// `proxy-authorization` are not here: they are for a proxy that was configured, and this one is transparent. Nor is
/// `trailer`, which is for the recipient since RFC 9110.
const HOP_BY_HOP: [HeaderName; 4] =
    [CONNECTION, TRANSFER_ENCODING, HeaderName::from_static("keep-alive"), HeaderName::from_static("proxy-connection")];

/// The settings that go with `upgrade: h2c` (RFC 7540, 3.2.1).
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// Never removed because `Connection` names them: the message would change its meaning without them.
const ESSENTIAL: [HeaderName; 2] = [HOST, CONTENT_LENGTH];

/// What claims an identity or trust that only the mesh can vouch for.
const CLAIMS: [HeaderName; 5] = [
    HeaderName::from_static("x-forwarded-client-cert"),
    HeaderName::from_static("x-envoy-internal"),
    HeaderName::from_static("x-envoy-original-dst-host"),
    HeaderName::from_static("x-envoy-peer-metadata"),
    HeaderName::from_static("x-envoy-peer-metadata-id"),
];

/// What begins so is between sidecars (`weft-destination`) or from a sidecar (`x-weft-reason`).
const OWN_PREFIXES: [&str; 2] = ["weft-", "x-weft-"];

/// Whether a message asks for an upgrade, accepts one, or offers one: it has `upgrade`, and `connection` names it
/// (RFC 9110, 7.8).
pub fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) && connection_options(headers).any(|option| option.eq_ignore_ascii_case(b"upgrade"))
}

/// Removes the hop-by-hop headers of a message that is forwarded: those of RFC 9110, 7.6.1, and those that `Connection`
/// names.
///
/// Two things stay. `te: trailers`, which gRPC needs, without the other options of `te`. And an
/// [upgrade](is_upgrade): `upgrade` with all its values, `http2-settings`, and a `connection` that names them.
/// `Connection` cannot remove `host` or `content-length`.
pub fn strip_hop_by_hop(headers: HeaderMap) -> HeaderMap {
    let only_trailers = headers.get_all(TE).iter().all(|value| value == "trailers");
    if only_trailers && !HOP_BY_HOP.iter().chain([&UPGRADE]).any(|name| headers.contains_key(name)) {
        return headers;
    }
    let upgrade = is_upgrade(&headers).then(|| Upgrade { with_settings: headers.contains_key(HTTP2_SETTINGS) });
    let wants_trailers = wants_trailers(&headers);
    let named = named_by_connection(&headers);
    let mut connection = upgrade.map(Upgrade::connection);
    let mut te = wants_trailers.then(|| HeaderValue::from_static("trailers"));
    rebuild(headers, |name, value| {
        if *name == CONNECTION {
            // Where the first one was.
            connection.take()
        } else if *name == TE {
            te.take()
        } else if *name == UPGRADE || (*name == HTTP2_SETTINGS && named.contains(name)) {
            upgrade.is_some().then_some(value)
        } else if HOP_BY_HOP.contains(name) || named.contains(name) {
            None
        } else {
            Some(value)
        }
    })
}

/// Removes from a message of an application what only the mesh itself may say: `weft-*` and `x-weft-*`, which sidecars
/// use between themselves, `x-forwarded-client-cert`, and Envoy's claims of an identity or of trust (`x-envoy-internal`,
/// `x-envoy-original-dst-host`, `x-envoy-peer-metadata`, `x-envoy-peer-metadata-id`).
///
/// Not removed: `x-forwarded-for` and its kin, `x-request-id`, headers of any tracing system, and `x-envoy-*` that ask
/// for something (time-outs, retries); they are the users' own.
pub fn strip_mesh_headers(headers: &mut HeaderMap) {
    if headers.keys().any(is_mesh_header) {
        let all = std::mem::take(headers);
        *headers = rebuild(all, |name, value| (!is_mesh_header(name)).then_some(value));
    }
}

/// Removes one header, all its values, and keeps the order of the others.
pub fn remove(headers: &mut HeaderMap, name: &HeaderName) {
    if headers.contains_key(name) {
        let all = std::mem::take(headers);
        *headers = rebuild(all, |other, value| (other != name).then_some(value));
    }
}

fn is_mesh_header(name: &HeaderName) -> bool {
    CLAIMS.contains(name) || OWN_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// What an upgrade needs beside the `upgrade` header.
#[derive(Clone, Copy)]
struct Upgrade {
    with_settings: bool,
}

impl Upgrade {
    fn connection(self) -> HeaderValue {
        HeaderValue::from_static(if self.with_settings { "upgrade, http2-settings" } else { "upgrade" })
    }
}

/// The headers of the message that `Connection` names. No longer than the message has headers.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut named = Vec::new();
    for option in connection_options(headers) {
        if let Ok(name) = HeaderName::from_bytes(option)
            && headers.contains_key(&name)
            && !named.contains(&name)
            && !ESSENTIAL.contains(&name)
        {
            named.push(name);
        }
    }
    named
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(CONNECTION).iter().flat_map(list_items)
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().flat_map(list_items).any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// The items of a comma-separated value (RFC 9110, 5.6.1).
fn list_items(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// Passes every header through `keep`, in order.
pub(crate) fn rebuild(
    headers: HeaderMap,
    mut keep: impl FnMut(&HeaderName, HeaderValue) -> Option<HeaderValue>,
) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.keys_len());
    let mut current = None;
    for (name, value) in headers {
        // A further value of a header comes without the name.
        current = name.or(current);
        if let Some(name) = &current
            && let Some(value) = keep(name, value)
        {
            kept.append(name, value);
        }
    }
    kept
}
