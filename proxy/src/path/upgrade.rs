//! What follows a 101, or the 2xx to a CONNECT: no longer HTTP, whatever it is, and none of our business.

use http::{Method, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::task::spawn_local;

use super::copy;

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
        let copied = match tokio::try_join!(client, upstream) {
            Ok((client, upstream)) => copy::streams(TokioIo::new(client), TokioIo::new(upstream)).await,
            Err(error) => return tracing::debug!(%error, "an upgrade was agreed on, yet did not happen"),
        };
        if let Err(error) = copied {
            tracing::debug!(%error, "an upgraded connection broke");
        }
    });
}
