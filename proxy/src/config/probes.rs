//! `WEFT_PROBES`: what the kubelet has the proxy ask the application, as injection wrote it.

use std::collections::BTreeMap;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// More than any pod has containers with probes.
const MOST: usize = 512;
/// Kubernetes' own.
const DEFAULT_TIMEOUT_SECONDS: u32 = 1;

/// The probes of a pod, and what shows that the kubelet asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probes {
    /// What `weft-probe-token` must say. Not empty where there are probes.
    pub(crate) token: String,
    /// By `CONTAINER/KIND`.
    pub(crate) by_name: BTreeMap<String, Probe>,
}

/// One probe.
#[derive(Clone, Debug)]
pub(crate) struct Probe {
    /// The application's port.
    pub(crate) port: u16,
    /// How long the application has.
    pub(crate) timeout: Duration,
    /// What it is asked.
    pub(crate) question: Question,
}

/// What the application is asked.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// A GET whose answer's status is from 200 to 399.
    Http {
        /// Over TLS, whatever certificate the application shows: as the kubelet does it.
        secure: bool,
        /// What is asked for.
        path: PathAndQuery,
        /// Headers of the probe's own.
        headers: Vec<(HeaderName, HeaderValue)>,
    },
    /// Whether it accepts a connection.
    Tcp,
    /// `grpc.health.v1.Health/Check` of this service; empty: the server as a whole.
    Grpc {
        /// The service.
        service: String,
    },
}

#[derive(Deserialize)]
struct Written {
    token: String,
    probes: BTreeMap<String, WrittenProbe>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenProbe {
    port: u16,
    timeout_seconds: Option<u32>,
    http_get: Option<WrittenHttp>,
    tcp_socket: Option<IgnoredAny>,
    grpc: Option<WrittenGrpc>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenHttp {
    path: Option<String>,
    scheme: Option<String>,
    http_headers: Option<Vec<WrittenHeader>>,
}

#[derive(Deserialize)]
struct WrittenHeader {
    name: String,
    value: String,
}

#[derive(Deserialize)]
struct WrittenGrpc {
    service: Option<String>,
}

/// Reads the variable.
pub(super) fn parse(text: &str) -> Result<Probes, String> {
    let written: Written = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if written.token.is_empty() || written.probes.len() > MOST {
        return Err(format!("has no token, or more than {MOST} probes"));
    }
    let probe = |(name, written): (String, WrittenProbe)| match probe(written) {
        Ok(probe) => Ok((name, probe)),
        Err(reason) => Err(format!("{name}: {reason}")),
    };
    let by_name = written.probes.into_iter().map(probe).collect::<Result<_, String>>()?;
    Ok(Probes { token: written.token, by_name })
}

fn probe(written: WrittenProbe) -> Result<Probe, String> {
    let question = match (written.http_get, written.tcp_socket, written.grpc) {
        (Some(http), None, None) => http_question(http)?,
        (None, Some(IgnoredAny), None) => Question::Tcp,
        (None, None, Some(grpc)) => Question::Grpc { service: grpc.service.unwrap_or_default() },
        _ => return Err("has not exactly one of httpGet, tcpSocket, grpc".to_owned()),
    };
    let seconds = written.timeout_seconds.filter(|seconds| *seconds > 0).unwrap_or(DEFAULT_TIMEOUT_SECONDS);
    Ok(Probe { port: written.port, timeout: Duration::from_secs(seconds.into()), question })
}

fn http_question(written: WrittenHttp) -> Result<Question, String> {
    let path = written.path.unwrap_or_default();
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    let path = path.parse().map_err(|error| format!("path {path:?}: {error}"))?;
    let header = |written: WrittenHeader| {
        let header = written.name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(&written.value).ok());
        header.ok_or_else(|| format!("header {:?} is none that HTTP allows", written.name))
    };
    let headers = written.http_headers.unwrap_or_default().into_iter().map(header).collect::<Result<_, String>>()?;
    Ok(Question::Http { secure: written.scheme.as_deref() == Some("HTTPS"), path, headers })
}
