//! Who may call the API: whoever shows the token; without a token, programs on this machine that mean to.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::http::{Extensions, HeaderMap, Uri, header, uri::Authority};
use axum::middleware::Next;
use axum::response::Response;
use subtle::ConstantTimeEq;
use tonic::Status;
use tonic::transport::server::TcpConnectInfo;

use super::error::refuse;
use crate::tls_listener::Peer;

/// How often the token's file is looked at.
const REREAD: Duration = Duration::from_secs(1);
/// The shortest token, in bytes.
const MIN_TOKEN_BYTES: usize = 16;
/// Needs no credential.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Who may call the API.
#[derive(Clone)]
pub enum Guard {
    /// Whoever shows the token.
    Token(Arc<Token>),
    /// Programs that reached a loopback address under a loopback name. A web page that has its own name point here (DNS
    /// rebinding) or that sends a form here is refused by its `Host` or `Origin`.
    Loopback,
}

/// Who called, as far as it is known. In the extensions of each request that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whether the token was shown.
    pub token: bool,
    /// Where the call came from; `None`: not known.
    pub address: Option<IpAddr>,
}

impl Caller {
    /// The caller of a request, as the guard noted it.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or(Self { token: false, address: None })
    }
}

/// For the audit trail: `token 10.0.0.7`, `loopback 127.0.0.1`.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.token { "token" } else { "loopback" })?;
        self.address.map_or(Ok(()), |address| write!(f, " {address}"))
    }
}

/// The token, as its file has it.
pub struct Token {
    path: PathBuf,
    current: ArcSwap<String>,
}

/// Why the token can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file can't be read.
    #[error("WEFT_API_TOKEN_FILE: {path} can't be read; does it exist, and is it readable for this user?", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file has no token that could be shown in a header, or one that can be guessed.
    #[error("WEFT_API_TOKEN_FILE: {path} has no token of at least {MIN_TOKEN_BYTES} visible ASCII characters", path = .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
    },
}

impl Token {
    /// Reads the token; white space around it is not part of it.
    ///
    /// # Errors
    /// When the file can't be read, or has no usable token.
    pub fn read(path: PathBuf) -> Result<Self, TokenError> {
        let current = ArcSwap::from_pointee(read(&path)?);
        Ok(Self { path, current })
    }

    /// Follows the file, for ever. While it can't be read, the last token holds.
    pub async fn keep_fresh(self: Arc<Self>) {
        let mut failing = false;
        loop {
            tokio::time::sleep(REREAD).await;
            let path = self.path.clone();
            match tokio::task::spawn_blocking(move || read(&path)).await {
                Ok(Ok(token)) => {
                    failing = false;
                    if token != **self.current.load() {
                        self.current.store(Arc::new(token));
                        tracing::info!(path = %self.path.display(), "the API token changed");
                    }
                }
                Ok(Err(error)) if !std::mem::replace(&mut failing, true) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the last API token stays in force");
                }
                Ok(Err(_)) | Err(_) => {}
            }
        }
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(header::AUTHORIZATION) else { return false };
        let Some((scheme, token)) = value.as_bytes().split_at_checked("bearer ".len()) else { return false };
        scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(token.trim_ascii().ct_eq(self.current.load().as_bytes()))
    }
}

fn read(path: &Path) -> Result<String, TokenError> {
    let text = std::fs::read(path).map_err(|source| TokenError::Read { path: path.to_owned(), source })?;
    let token = text.trim_ascii();
    if token.len() < MIN_TOKEN_BYTES || !token.iter().all(u8::is_ascii_graphic) {
        return Err(TokenError::Unusable { path: path.to_owned() });
    }
    Ok(String::from_utf8_lossy(token).into_owned())
}

/// The middleware in front of everything.
pub async fn check(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let (headers, uri) = (request.headers(), request.uri());
    let verdict = match &guard {
        _ if uri.path().starts_with(HEALTH) => Ok(()),
        Guard::Token(token) if token.admits(headers) => Ok(()),
        Guard::Token(_) => Err(Status::unauthenticated(
            "the API needs its token: authorization: Bearer TOKEN, as in the control plane's WEFT_API_TOKEN_FILE",
        )),
        Guard::Loopback => from_this_machine(headers, uri),
    };
    match verdict {
        Ok(()) => {
            let caller = Caller { token: matches!(guard, Guard::Token(_)), address: address(request.extensions()) };
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(status) => refuse(request.headers(), status),
    }
}

fn address(extensions: &Extensions) -> Option<IpAddr> {
    let plain = || extensions.get::<TcpConnectInfo>()?.remote_addr();
    extensions.get::<Peer>().map(|peer| peer.address).or_else(plain).map(|address| address.ip())
}

fn from_this_machine(headers: &HeaderMap, uri: &Uri) -> Result<(), Status> {
    let host = uri.authority().cloned().or_else(|| authority(headers.get(header::HOST)?.as_bytes()));
    if !host.is_some_and(|host| is_loopback(host.host())) {
        return Err(Status::permission_denied(
            "without a token the API answers to localhost, 127.0.0.1 and [::1] alone; \
             call it so, or set WEFT_API_TOKEN_FILE on the control plane",
        ));
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    if !origin.is_some_and(|origin| origin.host().is_some_and(is_loopback)) {
        return Err(Status::permission_denied("without a token the API does not answer to web pages of other origins"));
    }
    Ok(())
}

fn authority(host: &[u8]) -> Option<Authority> {
    Authority::try_from(host).ok()
}

fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || address.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests;
