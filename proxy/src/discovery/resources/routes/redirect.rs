//! `RedirectAction` -> where the client is sent instead.

use http::StatusCode;
use http::uri::Scheme;
use weft_api::xds::pb::envoy::config::route::v3::RedirectAction;
use weft_api::xds::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use weft_rules::redirect::{Redirect, RedirectPath};

use crate::discovery::resources::fault::{Fault, refuse};

/// Checks a redirect.
pub(super) fn redirect(action: &RedirectAction) -> Result<Redirect, Fault> {
    refuse!(action; strip_query);
    let host = &action.host_redirect;
    if host.contains(['/', '?', '#', '@']) {
        return Err(Fault::new("host_redirect", format!("{host:?} is not a host")));
    }
    let port = match action.port_redirect {
        0 => None,
        port => Some(u16::try_from(port).map_err(|_| Fault::new("port_redirect", format!("{port} is not a port")))?),
    };
    let host = (!host.is_empty()).then(|| host.clone());
    Ok(Redirect { scheme: scheme(action)?, host, port, path: path(action)?, status: status(action)? })
}

fn scheme(action: &RedirectAction) -> Result<Option<Scheme>, Fault> {
    match &action.scheme_rewrite_specifier {
        None | Some(SchemeRewriteSpecifier::HttpsRedirect(false)) => Ok(None),
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Ok(Some(Scheme::HTTPS)),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => match scheme.as_str() {
            "http" => Ok(Some(Scheme::HTTP)),
            "https" => Ok(Some(Scheme::HTTPS)),
            other => Err(Fault::new("scheme_redirect", format!("{other:?} is neither http nor https"))),
        },
    }
}

fn path(action: &RedirectAction) -> Result<Option<RedirectPath>, Fault> {
    let (field, path, made): (_, _, fn(String) -> RedirectPath) = match &action.path_rewrite_specifier {
        None => return Ok(None),
        Some(PathRewriteSpecifier::PathRedirect(path)) => ("path_redirect", path, RedirectPath::Full),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => ("prefix_rewrite", prefix, RedirectPath::Prefix),
        Some(PathRewriteSpecifier::RegexRewrite(_)) => {
            return Err(Fault::new("regex_rewrite", "is not supported by this proxy"));
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err(Fault::new("path_rewrite", "is not supported by this proxy"));
        }
    };
    // It becomes part of a `location`; what a path may not have would become another header there.
    let usable = path.starts_with('/') && http::uri::PathAndQuery::try_from(path.as_str()).is_ok();
    if usable || path.is_empty() && field == "prefix_rewrite" {
        Ok(Some(made(path.clone())))
    } else {
        Err(Fault::new(field, format!("{path:?} is not a path that begins with /")))
    }
}

fn status(action: &RedirectAction) -> Result<StatusCode, Fault> {
    match RedirectResponseCode::try_from(action.response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => Ok(StatusCode::MOVED_PERMANENTLY),
        Ok(RedirectResponseCode::Found) => Ok(StatusCode::FOUND),
        Ok(RedirectResponseCode::SeeOther) => Ok(StatusCode::SEE_OTHER),
        Ok(RedirectResponseCode::TemporaryRedirect) => Ok(StatusCode::TEMPORARY_REDIRECT),
        Ok(RedirectResponseCode::PermanentRedirect) => Ok(StatusCode::PERMANENT_REDIRECT),
        Err(_) => Err(Fault::new("response_code", format!("{} is not a redirect", action.response_code))),
    }
}
