//! Routes as they are written. Generated types have one copy of each shape for every place that it is in; here it is one
//! type, so that what reads it is one function.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A manifest with a spec.
#[derive(Debug, Deserialize)]
pub(in crate::registry::manifest) struct Manifest<S> {
    #[serde(default)]
    pub(in crate::registry::manifest) metadata: ObjectMeta,
    pub(in crate::registry::manifest) spec: S,
}

impl<S> Manifest<S> {
    /// When it was created, seconds since the epoch; [`i64::MAX`]: unknown.
    pub(in crate::registry::manifest) fn created(&self) -> i64 {
        self.metadata.creation_timestamp.as_ref().map_or(i64::MAX, |time| time.0.as_second())
    }
}

macro_rules! shapes {
    ($($(#[$doc:meta])* $name:ident $(<$generic:ident>)? { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Deserialize, Serialize)]
            #[serde(rename_all = "camelCase")]
            pub(in crate::registry::manifest) struct $name $(<$generic>)? {
                $($(#[$attribute])* pub(in crate::registry::manifest) $field: $type,)*
            }
        )*
    };
}

shapes! {
    /// What all routes have.
    RouteSpec<R> {
        hostnames: Option<Vec<String>>,
        parent_refs: Option<Vec<ParentRef>>,
        rules: Option<Vec<R>>,
        use_default_gateways: Option<String>,
    }
    ParentRef {
        group: Option<String>,
        kind: Option<String>,
        name: String,
        namespace: Option<String>,
        port: Option<i32>,
        section_name: Option<String>,
    }
    /// A rule of an HTTPRoute.
    HttpRule {
        name: Option<String>,
        matches: Option<Vec<HttpMatch>>,
        filters: Option<Vec<Filter>>,
        backend_refs: Option<Vec<BackendRef>>,
        timeouts: Option<Timeouts>,
        retry: Option<Retry>,
        session_persistence: Option<SessionPersistence>,
    }
    /// A rule of a GRPCRoute.
    GrpcRule {
        name: Option<String>,
        matches: Option<Vec<GrpcMatch>>,
        filters: Option<Vec<Filter>>,
        backend_refs: Option<Vec<BackendRef>>,
        session_persistence: Option<SessionPersistence>,
    }
    /// A rule of a TLSRoute or TCPRoute.
    StreamRule {
        name: Option<String>,
        backend_refs: Option<Vec<BackendRef>>,
    }
    HttpMatch {
        path: Option<PathMatch>,
        method: Option<Method>,
        headers: Option<Vec<ValueMatch>>,
        query_params: Option<Vec<ValueMatch>>,
    }
    PathMatch {
        r#type: Option<PathMatchType>,
        value: Option<String>,
    }
    /// Of a header or a query parameter.
    ValueMatch {
        name: String,
        r#type: Option<ValueMatchType>,
        value: String,
    }
    GrpcMatch {
        method: Option<GrpcMethod>,
        headers: Option<Vec<ValueMatch>>,
    }
    GrpcMethod {
        r#type: Option<ValueMatchType>,
        service: Option<String>,
        method: Option<String>,
    }
    BackendRef {
        group: Option<String>,
        kind: Option<String>,
        name: String,
        namespace: Option<String>,
        port: Option<i32>,
        weight: Option<i32>,
        filters: Option<Vec<Filter>>,
    }
    Filter {
        r#type: FilterType,
        request_header_modifier: Option<HeaderModifier>,
        response_header_modifier: Option<HeaderModifier>,
        request_mirror: Option<RequestMirror>,
        request_redirect: Option<RequestRedirect>,
        url_rewrite: Option<UrlRewrite>,
        extension_ref: Option<ExtensionRef>,
        cors: Option<Value>,
        external_auth: Option<Value>,
    }
    HeaderModifier {
        set: Option<Vec<Header>>,
        add: Option<Vec<Header>>,
        remove: Option<Vec<String>>,
    }
    Header {
        name: String,
        value: String,
    }
    RequestMirror {
        backend_ref: BackendRef,
        percent: Option<i64>,
        fraction: Option<Fraction>,
    }
    Fraction {
        numerator: i64,
        denominator: Option<i64>,
    }
    RequestRedirect {
        scheme: Option<String>,
        hostname: Option<String>,
        port: Option<i32>,
        path: Option<PathModifier>,
        status_code: Option<i64>,
    }
    UrlRewrite {
        hostname: Option<String>,
        path: Option<PathModifier>,
    }
    PathModifier {
        r#type: PathModifierType,
        replace_full_path: Option<String>,
        replace_prefix_match: Option<String>,
    }
    ExtensionRef {
        group: String,
        kind: String,
        name: String,
    }
    Timeouts {
        request: Option<String>,
        backend_request: Option<String>,
    }
    Retry {
        attempts: Option<i64>,
        codes: Option<Vec<i64>>,
        backoff: Option<String>,
    }
    SessionPersistence {
        session_name: Option<String>,
        r#type: Option<SessionType>,
        absolute_timeout: Option<String>,
        idle_timeout: Option<String>,
        cookie_config: Option<CookieConfig>,
    }
    CookieConfig {
        lifetime_type: Option<Lifetime>,
    }
}

macro_rules! words {
    ($($name:ident { $($(#[$attribute:meta])* $word:ident,)* })*) => {
        $(
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
            pub(in crate::registry::manifest) enum $name { $($(#[$attribute])* $word,)* }
        )*
    };
}

words! {
    PathMatchType { Exact, PathPrefix, RegularExpression, }
    ValueMatchType { Exact, RegularExpression, }
    PathModifierType { ReplaceFullPath, ReplacePrefixMatch, }
    SessionType { Cookie, Header, }
    Lifetime { Permanent, Session, }
    FilterType {
        RequestHeaderModifier,
        ResponseHeaderModifier,
        RequestMirror,
        RequestRedirect,
        #[serde(rename = "URLRewrite")]
        UrlRewrite,
        ExtensionRef,
        #[serde(rename = "CORS")]
        Cors,
        ExternalAuth,
    }
    Method {
        #[serde(rename = "GET")]
        Get,
        #[serde(rename = "HEAD")]
        Head,
        #[serde(rename = "POST")]
        Post,
        #[serde(rename = "PUT")]
        Put,
        #[serde(rename = "DELETE")]
        Delete,
        #[serde(rename = "CONNECT")]
        Connect,
        #[serde(rename = "OPTIONS")]
        Options,
        #[serde(rename = "TRACE")]
        Trace,
        #[serde(rename = "PATCH")]
        Patch,
    }
}

impl Method {
    pub(in crate::registry::manifest) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
        }
    }
}

impl FilterType {
    /// The type as a manifest has it, and the field that goes with it.
    pub(in crate::registry::manifest) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::RequestHeaderModifier => ("RequestHeaderModifier", "requestHeaderModifier"),
            Self::ResponseHeaderModifier => ("ResponseHeaderModifier", "responseHeaderModifier"),
            Self::RequestMirror => ("RequestMirror", "requestMirror"),
            Self::RequestRedirect => ("RequestRedirect", "requestRedirect"),
            Self::UrlRewrite => ("URLRewrite", "urlRewrite"),
            Self::ExtensionRef => ("ExtensionRef", "extensionRef"),
            Self::Cors => ("CORS", "cors"),
            Self::ExternalAuth => ("ExternalAuth", "externalAuth"),
        }
    }
}
