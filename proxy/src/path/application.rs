//! Inbound stage 5: one request, handed to the pod's own application.

use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, Request, Response};
use weft_certs::spiffe::SpiffeId;
use weft_rules::headers::{strip_hop_by_hop, strip_mesh_headers};

use super::answer::{self, Reason};
use super::body::Body;
use super::exchange::Exchange;
use super::rate_limit::{self, Standings};
use super::{route, upgrade};
use crate::inbound::{Caller, application_address};
use crate::worker::Worker;

/// Answers one request of a caller.
pub(crate) async fn request(worker: &Rc<Worker>, caller: &Rc<Caller>, mut request: Request<Body>) -> Response<Body> {
    let Some(admitted) = worker.admit() else {
        return answer::answer(Reason::Overload, "too many requests in flight", request.headers());
    };
    let client_upgrade = upgrade::requested(&mut request);
    let (mut parts, body) = request.into_parts();
    if let Err(detail) = route::check(&parts) {
        return answer::answer(Reason::BadRequest, detail, &parts.headers);
    }
    let mut exchange = Exchange::inbound(worker, caller, &parts, admitted);
    strip_mesh_headers(&mut parts.headers);
    parts.headers = strip_hop_by_hop(std::mem::take(&mut parts.headers));
    let limits = {
        let inbound = worker.directory.inbound();
        let limits = &inbound.port(caller.destination.port()).limits;
        (!limits.is_empty()).then(|| Arc::clone(limits))
    };
    let mut standings = Standings::default();
    if let Some(limits) = limits {
        let peer = caller.peer.as_ref().map(SpiffeId::as_str);
        standings = match rate_limit::admit(worker, &limits, &parts, peer).await {
            Ok(standings) => standings,
            Err(limited) => {
                exchange.failed_for(&caller.service, limited.reason);
                return exchange.answered_by_us(&parts, limited.answer, limited.reason);
            }
        };
    }
    let endpoint = worker.upstreams.application(application_address(worker, caller.destination));
    let mut request = Request::from_parts(parts.clone(), body);
    exchange.attempt(&endpoint, request.headers_mut());
    match endpoint.send(request).await {
        Ok(mut response) => {
            standings.tell(response.headers_mut());
            route::finish(&parts, response, client_upgrade, exchange)
        }
        Err(error) => {
            let reason = if error.is_unhandled() { Reason::ConnectFailed } else { Reason::UpstreamReset };
            tracing::info!(destination = %caller.destination, %error, "the application did not answer");
            exchange.failed_for(&caller.service, reason);
            let answer = answer::answer(reason, &error.to_string(), &parts.headers);
            exchange.answered_by_us(&parts, answer, reason)
        }
    }
}

/// The answer to who asks for an address that is not this pod's application.
pub(crate) fn not_mine(headers: &HeaderMap) -> Response<Body> {
    answer::answer(Reason::NotMine, "this sidecar takes traffic for its own pod's application alone", headers)
}
