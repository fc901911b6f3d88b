//! The endpoints of a cluster as one worker last looked at them, and who of them may be picked now.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::endpoint::EndpointState;
use crate::discovery::{Endpoint, Endpoints};

/// One worker's view of a cluster's endpoints.
#[derive(Default)]
pub(super) struct Group {
    snapshot: Arc<Endpoints>,
    /// Those that drain come last.
    states: Vec<Rc<EndpointState>>,
    serving: usize,
    /// Who may be picked, where that is not simply all that serve.
    narrowed: Option<Vec<Rc<EndpointState>>>,
    /// Made when it is first asked for.
    by_address: OnceCell<HashMap<SocketAddr, usize, foldhash::fast::RandomState>>,
}

impl Group {
    /// Whether these are the endpoints that it knows.
    pub(super) fn is_of(&self, snapshot: &Arc<Endpoints>) -> bool {
        Arc::ptr_eq(&self.snapshot, snapshot)
    }

    /// Takes over new endpoints; the ones that stay keep their load and connections. All that serve may be picked.
    pub(super) fn take_over(
        &mut self,
        snapshot: Arc<Endpoints>,
        now: Instant,
        make: impl Fn(&Arc<Endpoint>) -> Rc<EndpointState>,
    ) {
        let was_serving = self.serving > 0;
        let mut old: HashMap<SocketAddr, Rc<EndpointState>> =
            self.states.drain(..).map(|state| (state.endpoint.address, state)).collect();
        let state_of = |endpoint: &Arc<Endpoint>| match old.remove(&endpoint.address) {
            Some(state) if state.endpoint.mesh == endpoint.mesh => state,
            _ => {
                let state = make(endpoint);
                state.standing().new_since.set(was_serving.then_some(now));
                state
            }
        };
        self.states = in_order(&snapshot).map(state_of).collect();
        self.serving = snapshot.all.iter().filter(|endpoint| !endpoint.draining).count();
        self.by_address = OnceCell::new();
        self.snapshot = snapshot;
        self.narrow(0, |_| true);
    }

    /// Leaves out who is not usable; if less than `panic_percent` of them all are, nobody is left out. Those that drain
    /// count only where nobody else is left.
    pub(super) fn narrow(&mut self, panic_percent: u8, is_usable: impl Fn(&Endpoint) -> bool) {
        let all: Vec<_> = in_order(&self.snapshot).map(|endpoint| is_usable(endpoint)).zip(&self.states).collect();
        let (serving, draining) = all.split_at(self.serving.min(all.len()));
        let among = if serving.is_empty() { draining } else { serving };
        let usable = |states: &[(bool, &Rc<EndpointState>)]| -> Vec<_> {
            states.iter().filter(|(usable, _)| *usable).map(|(_, state)| Rc::clone(state)).collect()
        };
        let left = usable(among);
        let panics = left.len() * 100 < among.len() * usize::from(panic_percent);
        self.narrowed = if panics || left.len() == among.len() {
            None
        } else if left.is_empty() {
            Some(usable(draining))
        } else {
            Some(left)
        };
        self.states.iter().for_each(|state| state.standing().usable.set(false));
        self.candidates().iter().for_each(|state| state.standing().usable.set(true));
    }

    /// Who may be picked.
    pub(super) fn candidates(&self) -> &[Rc<EndpointState>] {
        match &self.narrowed {
            Some(narrowed) => narrowed,
            None if self.serving == 0 => &self.states,
            None => self.states.get(..self.serving).unwrap_or_default(),
        }
    }

    /// The endpoint with this address.
    pub(super) fn at(&self, address: SocketAddr) -> Option<&Rc<EndpointState>> {
        let index = self.by_address.get_or_init(|| {
            self.states.iter().enumerate().map(|(index, state)| (state.endpoint.address, index)).collect()
        });
        self.states.get(*index.get(&address)?)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Rc<EndpointState>] {
        &self.states
    }
}

/// Those that serve, then those that drain.
fn in_order(snapshot: &Endpoints) -> impl Iterator<Item = &Arc<Endpoint>> {
    let serving = snapshot.all.iter().filter(|endpoint| !endpoint.draining);
    serving.chain(snapshot.all.iter().filter(|endpoint| endpoint.draining))
}
