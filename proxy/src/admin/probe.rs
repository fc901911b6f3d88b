//! `GET /probe/CONTAINER/KIND`: asks the application what the pod's own probe would have asked, in the kubelet's place.
//!
//! The kubelet has no certificate, and a port where mutual TLS is strict refuses it; the proxy is inside. What can be asked
//! is written in `WEFT_PROBES` and nowhere else, only who knows the pod's token can have it asked, and of the
//! application's answer nothing but its status comes out.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use weft_certs::tls;

use super::Admin;
use crate::config::{ApplicationAddress, Config, Probe, Probes, Question};
use crate::path::socket;

#[cfg(test)]
mod tests;

/// The header that says that it is the kubelet who asks.
const TOKEN_HEADER: &str = "weft-probe-token";
/// Probes that are made at a time; further ones fail, as they would if the application were that busy.
const MOST_AT_A_TIME: usize = 64;
/// What is read of an answer, as the kubelet does; the rest is cut off.
const BODY_BYTES: usize = 10 * 1024;
/// How often a redirect is followed, as the kubelet does.
const MOST_REDIRECTS: usize = 10;

/// Makes probes.
pub(super) struct Prober {
    probes: Probes,
    /// Where the application is.
    address: IpAddr,
    mark: Option<u32>,
    permits: Semaphore,
}

impl Prober {
    pub(super) fn new(config: &Config) -> Self {
        let of_pod = config.identity.addresses.first().copied();
        let address = match config.inbound.application {
            ApplicationAddress::Pod => of_pod.unwrap_or(Ipv4Addr::LOCALHOST.into()),
            ApplicationAddress::Loopback => Ipv4Addr::LOCALHOST.into(),
        };
        Self {
            probes: config.admin.probes.clone(),
            address,
            mark: config.socket_mark,
            permits: Semaphore::new(MOST_AT_A_TIME),
        }
    }

    /// The probe of this name, for who shows the token.
    fn allowed(&self, name: &str, headers: &HeaderMap) -> Option<&Probe> {
        let shown = headers.get(TOKEN_HEADER)?;
        let probe = self.probes.by_name.get(name)?;
        same(shown.as_bytes(), self.probes.token.as_bytes()).then_some(probe)
    }

    /// The status to answer with, and why.
    async fn ask(&self, probe: &Probe) -> (StatusCode, String) {
        let Ok(_permit) = self.permits.try_acquire() else {
            return (StatusCode::SERVICE_UNAVAILABLE, "too many probes at a time".to_owned());
        };
        let address = SocketAddr::new(self.address, probe.port);
        let asked = async {
            match &probe.question {
                Question::Http { secure, path, headers } => self.http(address, *secure, path, headers).await,
                Question::Tcp => self.connect(address).await.map(|_| Ok(())),
                Question::Grpc { service } => self.grpc(address, service).await,
            }
        };
        match tokio::time::timeout(probe.timeout, asked).await {
            Ok(Ok(Ok(()))) => (StatusCode::OK, "ok".to_owned()),
            Ok(Ok(Err((status, said)))) => (status, format!("the application at {address} {said}")),
            Ok(Err(error)) => {
                (StatusCode::BAD_GATEWAY, format!("no answer from the application at {address}: {error}"))
            }
            Err(_) => {
                let waited = humantime::format_duration(probe.timeout);
                (StatusCode::GATEWAY_TIMEOUT, format!("no answer from the application at {address} within {waited}"))
            }
        }
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        // The probe's own time-out is around it.
        socket::connect(address, self.mark, std::time::Duration::from_secs(3600)).await
    }

    async fn http(
        &self,
        address: SocketAddr,
        secure: bool,
        path: &PathAndQuery,
        headers: &[(HeaderName, HeaderValue)],
    ) -> io::Result<Result<(), Refusal>> {
        let mut path = path.clone();
        for _ in 0..=MOST_REDIRECTS {
            let request = request(address, &path, headers)?;
            let stream = self.connect(address).await?;
            let (status, location) = if secure {
                let name = ServerName::IpAddress(address.ip().into());
                let connector = TlsConnector::from(tls::unverified_client());
                get(connector.connect(name, stream).await?, request).await?
            } else {
                get(stream, request).await?
            };
            match location.filter(|_| status.is_redirection()).and_then(|to| here(&to, address, &path)) {
                Some(next) => path = next,
                // What leads elsewhere was an answer of the application, and no failure.
                None if status.is_success() || status.is_redirection() => return Ok(Ok(())),
                None => return Ok(Err((status, format!("answers {status}")))),
            }
        }
        Ok(Err((StatusCode::LOOP_DETECTED, format!("redirects more than {MOST_REDIRECTS} times"))))
    }

    async fn grpc(&self, address: SocketAddr, service: &str) -> io::Result<Result<(), Refusal>> {
        let mark = self.mark;
        let connector = tower::service_fn(move |_: Uri| async move {
            socket::connect(address, mark, std::time::Duration::from_secs(3600)).await.map(TokioIo::new)
        });
        let channel = Endpoint::try_from(format!("http://{address}")).map_err(io::Error::other)?;
        let channel = channel.connect_with_connector(connector).await.map_err(io::Error::other)?;
        let asked = HealthClient::new(channel).check(HealthCheckRequest { service: service.to_owned() }).await;
        Ok(match asked.map(|answer| answer.into_inner().status()) {
            Ok(ServingStatus::Serving) => Ok(()),
            Ok(status) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("says {}", status.as_str_name()))),
            Err(status) => Err((StatusCode::SERVICE_UNAVAILABLE, format!("says {:?}", status.code()))),
        })
    }
}

/// What the application said instead of that it is well.
type Refusal = (StatusCode, String);

/// Answers the kubelet. Who shows no token learns nothing, not even which probes there are.
pub(super) async fn answer(
    State(admin): State<Admin>,
    Path((container, kind)): Path<(String, String)>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let prober = &admin.0.prober;
    let Some(probe) = prober.allowed(&format!("{container}/{kind}"), &headers) else {
        return (StatusCode::NOT_FOUND, "no such probe, or not the pod's token\n".to_owned());
    };
    let (status, said) = prober.ask(probe).await;
    tracing::debug!(container, kind, %status, said, "made a probe");
    (status, format!("{said}\n"))
}

fn request(
    address: SocketAddr,
    path: &PathAndQuery,
    headers: &[(HeaderName, HeaderValue)],
) -> io::Result<Request<Empty<&'static [u8]>>> {
    let mut request = Request::get(path.as_str()).body(Empty::new()).map_err(io::Error::other)?;
    let own = request.headers_mut();
    // Applications know probes by this name.
    own.insert(header::USER_AGENT, HeaderValue::from_static("kube-probe/weft-proxy"));
    own.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    own.insert(header::HOST, HeaderValue::try_from(address.to_string()).map_err(io::Error::other)?);
    own.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (at, (name, value)) in headers.iter().enumerate() {
        // The first of a name takes the place of ours, further ones stand beside it.
        match headers.iter().take(at).any(|(earlier, _)| earlier == name) {
            true => drop(own.append(name, value.clone())),
            false => drop(own.insert(name, value.clone())),
        }
    }
    Ok(request)
}

/// The answer's status, and where it leads.
async fn get<S>(stream: S, request: Request<Empty<&'static [u8]>>) -> io::Result<(StatusCode, Option<String>)>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(io::Error::other);
    let result = match answer {
        Ok(answer) => {
            let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let found = (answer.status(), location.map(str::to_owned));
            // Applications log when their answer is not taken.
            drop(Limited::new(answer.into_body(), BODY_BYTES).collect().await);
            Ok(found)
        }
        Err(error) => Err(error),
    };
    connection.abort();
    result
}

/// The path of a redirect that stays on the same port of the application.
fn here(location: &str, address: SocketAddr, from: &PathAndQuery) -> Option<PathAndQuery> {
    if location.contains("://") {
        let uri: Uri = location.parse().ok()?;
        let same = uri.authority().and_then(|authority| authority.as_str().parse().ok()) == Some(address);
        return uri.path_and_query().filter(|_| same).cloned();
    }
    match location.strip_prefix('/') {
        // Another host, of the same scheme.
        Some(rest) if rest.starts_with('/') => None,
        Some(_) => location.parse().ok(),
        // Relative to the folder.
        None => {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{location}").parse().ok()
        }
    }
}

/// Takes as long for a token that is nearly right as for any other of its length.
fn same(shown: &[u8], token: &[u8]) -> bool {
    shown.len() == token.len() && shown.iter().zip(token).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}
