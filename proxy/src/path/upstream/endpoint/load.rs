//! What an endpoint has to do, for as long as it has to.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::EndpointState;
use crate::path::body::OnEnd;
use crate::path::upstream::http1;

/// As how slow an endpoint counts that did not answer.
const FAILURE: Duration = Duration::from_secs(1);

/// A request, or a connection for bytes.
pub(super) struct Load {
    endpoint: Rc<EndpointState>,
    here: bool,
}

impl Load {
    pub(super) fn add(endpoint: &Rc<EndpointState>) -> Self {
        let load = Self { endpoint: Rc::clone(endpoint), here: endpoint.standing.here.get() };
        load.counts().for_each(|count| count.set(count.get() + 1));
        load
    }

    /// Where it counts: as the endpoint's, and as its zone's where that matters.
    fn counts(&self) -> impl Iterator<Item = &Cell<u32>> {
        let in_flight = self.endpoint.core.as_ref().and_then(|core| core.in_flight.as_ref());
        let zone = in_flight.map(|in_flight| if self.here { &in_flight.here } else { &in_flight.elsewhere });
        std::iter::once(&self.endpoint.pending).chain(zone)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.counts().for_each(|count| count.set(count.get().saturating_sub(1)));
        self.endpoint.make_room();
    }
}

/// A request that an endpoint works on, and the connection that it holds meanwhile.
pub(super) struct Lease {
    pub(super) connection: Option<http1::Pooled>,
    load: Load,
    started: Instant,
}

impl Lease {
    pub(super) fn start(endpoint: &Rc<EndpointState>) -> Self {
        Self { connection: None, load: Load::add(endpoint), started: Instant::now() }
    }

    /// The endpoint is as fast as it was to answer this; one that fails at once must not look fast.
    pub(super) fn measure(&self, answered: bool) {
        let now = Instant::now();
        let took = now.duration_since(self.started);
        let observed = if answered { took } else { took.max(FAILURE) };
        self.load.endpoint.load.borrow_mut().observe(now, observed);
    }
}

impl OnEnd for Lease {
    fn complete(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.load.endpoint.give_back(connection);
        }
    }
}
