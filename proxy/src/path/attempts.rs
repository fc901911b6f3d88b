//! The attempts of one request: endpoints are tried until one's answer counts, or nothing more may be tried.

mod hedge;
mod outcome;

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, Request, Response};
use weft_rules::retry::Verdict;
use weft_rules::route::Forward;
use weft_rules::timeouts::{self, GRPC_TIMEOUT, Timeouts};

use super::affinity::Affinity;
use super::answer::Reason;
use super::body::Body;
use super::exchange::Exchange;
use super::replay::Replayable;
use super::route::Failure;
use super::upstream::{ClusterState, EndpointState, PickBy, SendError};
use crate::discovery::Cluster;
use crate::telemetry::access_log::Flag;
use crate::telemetry::metrics::Event;
use crate::worker::Worker;
use outcome::{Tried, give_up, observe, reason, sent};

/// When a request's time is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    /// `None`: never.
    pub(super) at: Option<tokio::time::Instant>,
    /// How long after the request came.
    after: Option<Duration>,
    /// Whether endpoints are told in `grpc-timeout` how much is left.
    told: bool,
}

impl Deadline {
    /// From the route's time-outs and the request's own `grpc-timeout`.
    pub(super) fn of(timeouts: &Timeouts, headers: &HeaderMap) -> Self {
        let after = timeouts.effective(headers);
        let at = after.map(|after| tokio::time::Instant::now() + after);
        Self { at, after, told: timeouts.honour_grpc && headers.contains_key(GRPC_TIMEOUT) }
    }

    fn left(&self) -> Option<Duration> {
        self.at.map(|at| at.saturating_duration_since(tokio::time::Instant::now()))
    }

    fn is_over(&self) -> bool {
        self.left() == Some(Duration::ZERO)
    }

    fn failure(&self) -> Failure {
        Failure::new(Reason::Timeout, format!("no answer within {:?}", self.after.unwrap_or_default()))
    }
}

/// The attempts of one request.
pub(super) struct Attempts<'a> {
    worker: &'a Rc<Worker>,
    cluster: &'a Rc<ClusterState>,
    forward: &'a Forward<Arc<Cluster>>,
    request: &'a Parts,
    /// `None`: the request has no body.
    body: Option<Replayable>,
    affinity: &'a Affinity<'a>,
    deadline: Deadline,
    /// How many there were.
    made: u32,
    /// The endpoints that the next attempt should not go to.
    tried: Vec<SocketAddr>,
}

/// Whether an attempt was the last.
enum Judged {
    Final {
        /// One more was wanted, and could not be had.
        wanted: bool,
    },
    Again {
        after: Duration,
    },
}

/// The answer that counts, and who gave it.
pub(super) type Sent = Result<(Response<Body>, SocketAddr), Failure>;

impl<'a> Attempts<'a> {
    pub(super) fn new(
        worker: &'a Rc<Worker>,
        cluster: &'a Rc<ClusterState>,
        forward: &'a Forward<Arc<Cluster>>,
        request: &'a Parts,
        body: Option<Replayable>,
        affinity: &'a Affinity<'a>,
        deadline: Deadline,
    ) -> Self {
        Self { worker, cluster, forward, request, body, affinity, deadline, made: 0, tried: Vec::new() }
    }

    /// Tries until there is an answer to pass on.
    pub(super) async fn send(mut self, exchange: &mut Exchange) -> Sent {
        self.cluster.deposit(Instant::now());
        if self.forward.hedge {
            let deadline = self.deadline;
            let sending = Box::pin(self.hedged(exchange));
            return match deadline.at {
                None => sending.await,
                Some(at) => tokio::time::timeout_at(at, sending).await.unwrap_or_else(|_| Err(deadline.failure())),
            };
        }
        loop {
            let endpoint = self.pick()?;
            let request = self.next_request(&endpoint, exchange)?;
            let tried = {
                let sending = pin!(endpoint.send(request));
                self.within_limits(sending).await
            };
            match self.judge(&endpoint, &tried) {
                Judged::Final { wanted } => return self.finish(tried, wanted, &endpoint, exchange),
                Judged::Again { after } => {
                    exchange.attempt_over(tried.status(), tried.reason());
                    give_up(tried);
                    self.tried.push(endpoint.endpoint.address);
                    if !after.is_zero() {
                        tokio::time::sleep(after).await;
                    }
                }
            }
        }
    }

    /// One attempt, until what comes first of its own time, the request's, and standing still.
    async fn within_limits(&self, sending: Pin<&mut impl Future<Output = Result<Response<Body>, SendError>>>) -> Tried {
        let sending = async {
            match self.forward.timeouts.idle {
                None => sent(sending.await),
                Some(idle) => self.unless_idle(idle, sending).await,
            }
        };
        let limit = self.forward.timeouts.per_try.into_iter().chain(self.deadline.left()).min();
        match limit {
            None => sending.await,
            Some(limit) => match tokio::time::timeout(limit, sending).await {
                Ok(tried) => tried,
                Err(_) if self.deadline.is_over() => Tried::OutOfTime,
                Err(_) => Tried::TimedOut,
            },
        }
    }

    /// The answer's own idleness is its body's business; until it comes, the request's body is what may move.
    async fn unless_idle(
        &self,
        idle: Duration,
        mut sending: Pin<&mut impl Future<Output = Result<Response<Body>, SendError>>>,
    ) -> Tried {
        let mut since = Instant::now();
        loop {
            let until = tokio::time::Instant::from_std(since + idle);
            if let Ok(answered) = tokio::time::timeout_at(until, sending.as_mut()).await {
                return sent(answered);
            }
            match self.body.as_ref().and_then(Replayable::last_moved).filter(|moved| *moved > since) {
                Some(moved) => since = moved,
                None => return Tried::Idle,
            }
        }
    }

    fn pick(&self) -> Result<Rc<EndpointState>, Failure> {
        let retry = &self.forward.retry;
        let tried = if retry.other_endpoint { self.tried.as_slice() } else { &[] };
        let session = self.affinity.endpoint().filter(|address| !tried.contains(address));
        let by = PickBy { hash: self.affinity.hash(), session, tried };
        let picked = self.cluster.pick(&self.worker.upstreams, &by, Instant::now());
        picked.ok_or_else(|| Failure::new(Reason::NoEndpoint, format!("{} has no endpoint", self.cluster.name())))
    }

    /// The request for the next attempt.
    fn next_request(
        &mut self,
        endpoint: &Rc<EndpointState>,
        exchange: &mut Exchange,
    ) -> Result<Request<Body>, Failure> {
        let body = match &self.body {
            None => Body::empty(),
            Some(body) => match body.next_try() {
                Some(replay) => replay.into(),
                None => return Err(Failure::new(Reason::UpstreamReset, "the body is too long to be sent again")),
            },
        };
        self.made += 1;
        let mut request = Request::from_parts(self.request.clone(), body);
        if self.deadline.told
            && let Some(left) = self.deadline.left()
        {
            request.headers_mut().insert(GRPC_TIMEOUT, timeouts::format_grpc_timeout(left));
        }
        exchange.attempt(endpoint, request.headers_mut());
        Ok(request)
    }

    /// Whether one more attempt follows: the policy must want it, the body must still be there, there must be time for
    /// it, and the budget must allow it.
    fn judge(&self, endpoint: &EndpointState, tried: &Tried) -> Judged {
        observe(endpoint, tried);
        if matches!(tried, Tried::Failed(SendError::Overflow(_)) | Tried::OutOfTime) {
            return Judged::Final { wanted: false };
        }
        let Verdict::Retry { after } = self.wish(tried, self.made) else {
            // Whether one more was wanted is asked as if it were the first.
            return Judged::Final { wanted: self.made > 1 && matches!(self.wish(tried, 1), Verdict::Retry { .. }) };
        };
        let repeatable = self.body.as_ref().is_none_or(Replayable::can_repeat);
        if !repeatable || self.deadline.left().is_some_and(|left| left <= after) {
            return Judged::Final { wanted: true };
        }
        if !self.cluster.withdraw(Instant::now()) {
            let metrics = &self.worker.telemetry.metrics;
            metrics.event(Event::RetryDenied, self.cluster.name(), "budget");
            return Judged::Final { wanted: true };
        }
        Judged::Again { after }
    }

    /// What the policy says after so many attempts, the last of which ended so.
    fn wish(&self, tried: &Tried, attempts: u32) -> Verdict {
        self.forward.retry.decide(&self.request.method, attempts, &tried.outcome(), rand::random())
    }

    fn finish(&self, tried: Tried, wanted: bool, endpoint: &Rc<EndpointState>, exchange: &mut Exchange) -> Sent {
        if wanted {
            exchange.flag(Flag::RetriesExhausted);
        }
        match tried {
            Tried::Answered(response) => Ok((response, endpoint.endpoint.address)),
            Tried::Failed(error) => {
                exchange.attempt_over(None, Some(reason(&error).as_str()));
                Err(Failure::new(reason(&error), error.to_string()))
            }
            Tried::OutOfTime => {
                exchange.attempt_over(None, tried.reason());
                Err(self.deadline.failure())
            }
            Tried::Idle => {
                exchange.attempt_over(None, tried.reason());
                let idle = self.forward.timeouts.idle.unwrap_or_default();
                Err(Failure::new(Reason::IdleTimeout, format!("neither side moved for {idle:?}")))
            }
            Tried::TimedOut => {
                let reason = Reason::PerTryTimeout;
                exchange.attempt_over(None, Some(reason.as_str()));
                let limit = self.forward.timeouts.per_try.unwrap_or_default();
                Err(Failure::new(reason, format!("no answer within {limit:?}, the time for one attempt")))
            }
        }
    }
}
