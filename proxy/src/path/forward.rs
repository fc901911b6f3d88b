//! A request that a rule sends to a backend: the backend by weight, the rule's edits, the copies, the time that it has.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Response, Uri, header};
use tokio::time::Instant;
use weft_rules::rewrite::RewriteError;
use weft_rules::route::{Backend, Forward, Rule};

use super::affinity::Affinity;
use super::answer::{Reason, is_grpc};
use super::attempts::{Attempts, Deadline};
use super::body::{Body, Clock, Over};
use super::exchange::Exchange;
use super::mirror;
use super::replay::Replayable;
use super::route::{Client, Failure};
use super::upstream::ClusterState;
use crate::discovery::Cluster;

/// Forwards a request. A failure is boxed, because it is rare and large.
pub(super) async fn forward(
    client: &Client,
    rule: &Rule<Arc<Cluster>>,
    forward: &Forward<Arc<Cluster>>,
    parts: &Parts,
    incoming: Body,
    exchange: &mut Exchange,
) -> Result<Response<Body>, Box<Failure>> {
    let worker = &client.worker;
    let session = forward.session.as_ref().and_then(|session| session.endpoint(&parts.headers));
    let backend = choose(client, forward, session);
    let name = &backend.target.name;
    let of_backend = |failure| Box::new(Failure { backend: Some(Arc::clone(name)), ..failure });
    if !backend.target.exists {
        // The Gateway API: what is meant for a backend that doesn't exist fails, and goes nowhere else.
        return Err(of_backend(Failure::new(Reason::RouteUnresolved, format!("{name} does not exist"))));
    }
    let cluster = worker.upstreams.cluster(&backend.target);
    let permit = cluster.admit().map_err(|overflow| of_backend(overflow.into()))?;
    exchange.hold(permit);
    let edited = edited(rule, forward, backend, parts).map_err(|error| of_backend(Failure::unroutable(&error)))?;
    let outgoing = edited.as_ref().unwrap_or(parts);
    let affinity = Affinity::new(forward.session.as_ref(), session, cluster.hash_keys(), client.address, parts);
    let body = (!http_body::Body::is_end_stream(&incoming)).then(|| Replayable::new(incoming));
    send_copies(client, forward, outgoing, body.as_ref());
    let deadline = Deadline::of(&forward.timeouts, &parts.headers);
    let attempts = Attempts::new(worker, &cluster, forward, outgoing, body, &affinity, deadline);
    let (mut response, endpoint) = attempts.send(exchange).await.map_err(of_backend)?;
    backend.response_headers.apply(response.headers_mut());
    affinity.keep(endpoint, response.headers_mut());
    Ok(timed(response, &cluster, forward, deadline))
}

impl Failure {
    /// The path that the rule makes is none. Its old path is not where the request was meant to go.
    fn unroutable(error: &RewriteError) -> Self {
        Self::new(Reason::RouteUnresolved, error.to_string())
    }
}

/// By weight, or where the client's session is. A session outlives the weight of its backend.
fn choose<'a>(
    client: &Client,
    forward: &'a Forward<Arc<Cluster>>,
    session: Option<SocketAddr>,
) -> &'a Backend<Arc<Cluster>> {
    let holds = |address: SocketAddr| {
        let mut backends = forward.backends.iter().map(|(backend, _)| backend);
        backends.find(|backend| client.worker.upstreams.cluster(&backend.target).holds(address))
    };
    session.and_then(holds).unwrap_or_else(|| forward.backends.pick(rand::random()))
}

/// The request as it goes out, where that differs from how it came.
fn edited(
    rule: &Rule<Arc<Cluster>>,
    forward: &Forward<Arc<Cluster>>,
    backend: &Backend<Arc<Cluster>>,
    parts: &Parts,
) -> Result<Option<Parts>, RewriteError> {
    let host = backend.host.as_ref().or(forward.rewrite.host.as_ref());
    let path = forward.rewrite.path_and_query(&rule.matcher.path, &parts.uri)?;
    let (first, then) = (&rule.filters.request_headers, &backend.request_headers);
    if host.is_none() && path.is_none() && first.is_empty() && then.is_empty() {
        return Ok(None);
    }
    let mut parts = parts.clone();
    first.apply(&mut parts.headers);
    then.apply(&mut parts.headers);
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    if let Some(path) = path {
        uri.path_and_query = Some(path);
    }
    if let Some(host) = host {
        if uri.authority.is_some() {
            uri.authority = host.to_str().ok().and_then(|host| host.parse().ok()).or(uri.authority);
        }
        // HTTP/2 needs no `host` beside its authority; what has one gets the new one.
        if parts.headers.contains_key(header::HOST) || uri.authority.is_none() {
            parts.headers.insert(header::HOST, host.clone());
        }
    }
    // Each part was part of a URI.
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    Ok(Some(parts))
}

fn send_copies(client: &Client, forward: &Forward<Arc<Cluster>>, outgoing: &Parts, body: Option<&Replayable>) {
    for mirror in &forward.mirrors {
        if mirror.target.exists && mirror.share.hits(rand::random()) {
            let body = body.map_or_else(Body::empty, |body| body.copy().into());
            mirror::send(&client.worker, &mirror.target, outgoing, body);
        }
    }
}

/// A time-out covers the whole answer, its body too, as Envoy's does; so do the bounds on a stream's life and rest.
fn timed(
    response: Response<Body>,
    cluster: &Rc<ClusterState>,
    forward: &Forward<Arc<Cluster>>,
    deadline: Deadline,
) -> Response<Body> {
    let grpc = is_grpc(response.headers());
    let max_age = shorter(forward.timeouts.max_stream, cluster.policy().max_stream_age);
    let ends =
        [deadline.at.map(|at| (at, Over::Timeout)), max_age.map(|age| (Instant::now() + age, Over::MaxAge { grpc }))];
    match Clock::new(ends.into_iter().flatten(), forward.timeouts.idle) {
        Some(clock) => response.map(|body| body.timed(clock)),
        None => response,
    }
}

fn shorter(a: Option<Duration>, b: Option<Duration>) -> Option<Duration> {
    a.into_iter().chain(b).min()
}
