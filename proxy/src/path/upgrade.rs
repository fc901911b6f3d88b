//! What follows a 101, or the 2xx to a CONNECT: no longer HTTP, whatever it is, and none of our business.

use std::io;

use http::{Method, Request, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::connection::{self, Connection};
use super::copy;
use super::prefixed::Prefixed;
use super::upstream::Held;

/// What becomes of the client's connection if the request's upgrade is agreed on; none where it asks for none.
pub(crate) fn requested<B>(request: &mut Request<B>) -> Option<OnUpgrade> {
    let asked = *request.method() == Method::CONNECT || request.headers().contains_key(header::UPGRADE);
    asked.then(|| request.extensions_mut().remove::<OnUpgrade>()).flatten()
}

/// Whether a response turns its connection into something else.
pub(crate) fn is_upgrade<B>(method: &Method, response: &Response<B>) -> bool {
    response.status() == StatusCode::SWITCHING_PROTOCOLS
        || (*method == Method::CONNECT && response.status().is_success())
}

/// Joins the two connections once both have left HTTP. Holds `held` until then.
pub(crate) fn join<H: 'static>(client: OnUpgrade, upstream: OnUpgrade, held: H) {
    spawn_local(async move {
        let _held = held;
        let passed_on = match tokio::try_join!(client, upstream) {
            Ok((client, upstream)) => pass_on(client, upstream).await,
            Err(error) => return tracing::debug!(%error, "an upgrade was agreed on, yet did not happen"),
        };
        if let Err(error) = passed_on {
            tracing::debug!(%error, "an upgraded connection broke");
        }
    });
}

/// Takes the connections out of hyper, which had them for HTTP alone, with what it has read ahead.
async fn pass_on(client: Upgraded, upstream: Upgraded) -> io::Result<()> {
    let upstream =
        upstream.downcast::<TokioIo<Held<Connection>>>().map_err(|_| io::Error::other("not a pooled one"))?;
    let (from_upstream, (upstream, _permit)) = (upstream.read_buf, upstream.io.into_inner().into_parts());
    match (client.downcast::<TokioIo<Prefixed<Connection>>>(), upstream) {
        (Ok(client), upstream) => {
            let mut from_client = client.read_buf;
            let (read_before_hyper, connection) = client.io.into_inner().into_parts();
            connection::append(&mut from_client, &read_before_hyper);
            copy::connections(connection, from_client, upstream, from_upstream).await
        }
        // Under TLS of a client that has no sidecar, and so for this pod's application.
        (Err(client), Connection::Socket(application)) => {
            copy::socket_and_stream(application, from_upstream, TokioIo::new(client)).await
        }
        (Err(_), Connection::Tunnel(_)) => Err(io::Error::other("neither side is in this pod")),
    }
}
