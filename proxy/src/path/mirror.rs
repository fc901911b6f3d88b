//! Copies of requests, sent to where a route says beside where the request goes.
//!
//! A copy can neither slow nor fail its request: what the request's body yields on its way is put into a bounded queue
//! without waiting, and a copy whose queue is full is given up. Its answer is thrown away.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use http_body::Frame;
use tokio::task::spawn_local;

use super::body::{Body, BodyError};
use super::discard::discard;
use super::upstream::{ClusterState, PickBy};
use crate::discovery::Cluster;
use crate::telemetry::metrics::Event;
use crate::worker::Worker;

/// Bytes of a body that wait for a copy's endpoint; beyond them the copy is given up.
const MAX_WAITING: usize = 128 * 1024;
/// Copies that a worker has under way; further ones are not made.
const MAX_COPIES: usize = 256;
/// How long a copy may take, its answer included.
const LIMIT: Duration = Duration::from_secs(30);

/// The copies that a worker has under way.
#[derive(Clone, Default)]
pub(crate) struct Copies(Rc<()>);

impl Copies {
    fn start(&self) -> Option<Self> {
        (Rc::strong_count(&self.0) <= MAX_COPIES).then(|| self.clone())
    }
}

/// Sends a copy of a request to a cluster and forgets about it.
pub(super) fn send(worker: &Rc<Worker>, target: &Arc<Cluster>, parts: &Parts, body: Body) {
    let count = |worker: &Worker, result| worker.telemetry.metrics.event(Event::Mirrored, &target.name, result);
    let Some(under_way) = worker.copies.start() else { return count(worker, "not_sent") };
    let (worker, target) = (Rc::clone(worker), Arc::clone(target));
    let request = Request::from_parts(parts.clone(), body);
    spawn_local(async move {
        let cluster = worker.upstreams.cluster(&target);
        let sent = tokio::time::timeout(LIMIT, exchange(&worker, &cluster, request)).await;
        let result = if sent == Ok(true) { "answered" } else { "failed" };
        worker.telemetry.metrics.event(Event::Mirrored, &target.name, result);
        drop(under_way);
    });
}

async fn exchange(worker: &Worker, cluster: &ClusterState, request: Request<Body>) -> bool {
    let Ok(_permit) = cluster.admit() else { return false };
    let by = PickBy::default();
    let Some(endpoint) = cluster.pick(&worker.upstreams, &by, Instant::now()) else { return false };
    match endpoint.send(request).await {
        Ok(response) => {
            discard(response.into_body()).await;
            true
        }
        Err(error) => {
            tracing::debug!(cluster = %cluster.name(), %error, "a mirrored request failed");
            false
        }
    }
}

/// Puts the frames of a body into a copy of it.
pub(super) struct CopySender(Rc<RefCell<Queue>>);

/// The copy of a body.
pub(crate) struct CopyBody(Rc<RefCell<Queue>>);

#[derive(Default)]
struct Queue {
    frames: VecDeque<Frame<Bytes>>,
    bytes: usize,
    state: State,
    reader: Option<Waker>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// All frames are there.
    Ended,
    /// Frames are missing, and nobody will read on.
    GivenUp,
}

/// An empty copy, and what fills it.
pub(super) fn copy() -> (CopySender, CopyBody) {
    let queue = Rc::new(RefCell::new(Queue::default()));
    (CopySender(Rc::clone(&queue)), CopyBody(queue))
}

impl CopySender {
    /// Adds a frame; false: the copy is given up.
    pub(super) fn push(&self, frame: &Frame<Bytes>) -> bool {
        let mut queue = self.0.borrow_mut();
        if queue.state != State::Open {
            return false;
        }
        if let Some(data) = frame.data_ref() {
            queue.bytes += data.len();
            if queue.bytes > MAX_WAITING {
                queue.close(State::GivenUp);
                return false;
            }
            queue.frames.push_back(Frame::data(data.clone()));
        } else if let Some(trailers) = frame.trailers_ref() {
            queue.frames.push_back(Frame::trailers(trailers.clone()));
        }
        queue.wake();
        true
    }

    /// All frames were added.
    pub(super) fn end(self) {
        self.0.borrow_mut().close(State::Ended);
    }
}

/// What has not ended was cut off.
impl Drop for CopySender {
    fn drop(&mut self) {
        self.0.borrow_mut().close(State::GivenUp);
    }
}

impl Queue {
    fn close(&mut self, state: State) {
        if self.state == State::Open {
            self.state = state;
        }
        if self.state == State::GivenUp {
            self.frames.clear();
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl CopyBody {
    pub(super) fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut queue = self.0.borrow_mut();
        if let Some(frame) = queue.frames.pop_front() {
            queue.bytes -= frame.data_ref().map_or(0, Bytes::len);
            return Poll::Ready(Some(Ok(frame)));
        }
        match queue.state {
            State::Open => {
                queue.reader = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Ended => Poll::Ready(None),
            State::GivenUp => Poll::Ready(Some(Err(BodyError::CopyGivenUp))),
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let queue = self.0.borrow();
        queue.state == State::Ended && queue.frames.is_empty()
    }
}

/// Nobody reads on.
impl Drop for CopyBody {
    fn drop(&mut self) {
        self.0.borrow_mut().close(State::GivenUp);
    }
}

#[cfg(test)]
pub(super) mod testing {
    //! Bodies whose parts come when a test says so.

    use super::{Bytes, CopyBody, CopySender, Frame};

    /// What fills a body. Dropped before its end, it breaks the body off.
    pub(in crate::path) struct Sender(CopySender);

    pub(in crate::path) fn copy() -> (Sender, CopyBody) {
        let (sender, copy) = super::copy();
        (Sender(sender), copy)
    }

    impl Sender {
        pub(in crate::path) fn push(&self, data: &'static str) {
            assert!(self.0.push(&Frame::data(Bytes::from_static(data.as_bytes()))), "the body is given up");
        }

        pub(in crate::path) fn end(self) {
            self.0.end();
        }
    }
}
#[cfg(test)]
mod tests;
