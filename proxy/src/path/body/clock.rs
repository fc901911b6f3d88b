//! How long a body may take, and how long it may stand still.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tokio::time::{Instant, Sleep};

use crate::path::answer::{GRPC_MESSAGE, GRPC_STATUS};

/// `UNAVAILABLE`: the client may call again.
const UNAVAILABLE: u32 = 14;

/// Why a body is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The request's time-out passed.
    Timeout,
    /// It stood still for as long as the route allows.
    Idle,
    /// The stream is as old as the backend's policy allows.
    MaxAge {
        /// Whether it is the answer to a gRPC call.
        grpc: bool,
    },
}

impl Over {
    /// As it stands in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Idle => "idle_timeout",
            Self::MaxAge { .. } => "max_stream_age",
        }
    }

    /// What a client is told that understands more than that the stream broke off.
    pub(super) fn trailers(self) -> Option<HeaderMap> {
        if self != (Self::MaxAge { grpc: true }) {
            return None;
        }
        let mut trailers = HeaderMap::with_capacity(2);
        trailers.insert(GRPC_STATUS, HeaderValue::from(UNAVAILABLE));
        trailers.insert(GRPC_MESSAGE, HeaderValue::from_static(self.as_str()));
        Some(trailers)
    }
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the request's time-out passed before the body had ended",
            Self::Idle => "the body stood still for longer than the route allows",
            Self::MaxAge { .. } => "the stream is as old as the backend's policy allows",
        })
    }
}

/// What a body is measured by: one timer, whatever is measured.
pub(crate) struct Clock {
    sleep: Pin<Box<Sleep>>,
    end: Option<(Instant, Over)>,
    idle: Option<Duration>,
    moved: Instant,
}

impl Clock {
    /// Ends by what comes first; none where nothing is measured.
    pub(crate) fn new(ends: impl IntoIterator<Item = (Instant, Over)>, idle: Option<Duration>) -> Option<Self> {
        let end = ends.into_iter().min_by_key(|(at, _)| *at);
        let moved = Instant::now();
        let first = next(end, idle, moved)?;
        Some(Self { sleep: Box::pin(tokio::time::sleep_until(first)), end, idle, moved })
    }

    /// Something was passed on.
    pub(super) fn moved(&mut self) {
        if self.idle.is_some() {
            self.moved = Instant::now();
        }
    }

    /// Ready when the body is over. The timer is set anew only when it fires, not with each frame.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            if let Some((at, why)) = self.end
                && at <= now
            {
                return Poll::Ready(why);
            }
            match next(self.end, self.idle, self.moved) {
                Some(at) if at > now => self.sleep.as_mut().reset(at),
                _ => return Poll::Ready(Over::Idle),
            }
        }
    }
}

/// When to look again.
fn next(end: Option<(Instant, Over)>, idle: Option<Duration>, moved: Instant) -> Option<Instant> {
    let idle = idle.map(|idle| moved + idle);
    end.map(|(at, _)| at).into_iter().chain(idle).min()
}

#[cfg(test)]
mod tests;
