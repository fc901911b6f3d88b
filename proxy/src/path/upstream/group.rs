//! The endpoints of a cluster as one worker last looked at them, and who of them may be picked now.

use std::cell::{Cell, OnceCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use weft_rules::balance::{Algorithm, BalancePolicy, hash_ring, locality, maglev};
use weft_rules::hash::hash_address;

use super::endpoint::EndpointState;
use crate::discovery::{Endpoint, Endpoints, Place};

/// One worker's view of a cluster's endpoints.
#[derive(Default)]
pub(super) struct Group {
    snapshot: Arc<Endpoints>,
    /// Those that drain come last.
    states: Vec<Rc<EndpointState>>,
    serving: usize,
    /// Who may be picked, where that is not simply all that serve.
    narrowed: Option<Narrowed>,
    /// Made when it is first asked for.
    by_address: OnceCell<HashMap<SocketAddr, usize, foldhash::fast::RandomState>>,
    /// Likewise. Of all that serve, so that it stays as it is while some are not usable.
    table: OnceCell<Table>,
}

/// Those nearby come first.
struct Narrowed {
    states: Vec<Rc<EndpointState>>,
    here: usize,
    /// Before some were left out.
    all_here: usize,
    all_elsewhere: usize,
    in_flight: Rc<InFlight>,
}

/// What a worker has under way to the endpoints of a cluster, nearby and elsewhere.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub(super) here: Cell<u32>,
    pub(super) elsewhere: Cell<u32>,
}

/// Places of requests.
enum Table {
    Ring(hash_ring::Ring),
    Maglev(maglev::Table),
}

/// Who may be picked, by zone.
pub(super) struct Zones<'a> {
    pub(super) here: &'a [Rc<EndpointState>],
    pub(super) elsewhere: &'a [Rc<EndpointState>],
    pub(super) load_here: locality::Endpoints,
    pub(super) load_elsewhere: locality::Endpoints,
}

/// Where the pod is, and what is under way nearby.
pub(super) struct Own<'a> {
    pub(super) place: &'a Place,
    pub(super) in_flight: &'a Rc<InFlight>,
}

/// What is near: the own node if a usable endpoint is on it, or else the own zone.
enum Near<'a> {
    Node(&'a str),
    Zone(&'a str),
    Nothing,
}

impl Group {
    /// Whether these are the endpoints that it knows.
    pub(super) fn is_of(&self, snapshot: &Arc<Endpoints>) -> bool {
        Arc::ptr_eq(&self.snapshot, snapshot)
    }

    /// Takes over new endpoints; the ones that stay keep their load and connections. Then [`Group::narrow`] must say who
    /// of them may be picked.
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
        old.values().for_each(|state| state.standing().gone.set(true));
        self.serving = snapshot.all.iter().filter(|endpoint| !endpoint.draining).count();
        (self.by_address, self.table) = (OnceCell::new(), OnceCell::new());
        self.snapshot = snapshot;
    }

    /// Leaves out who is not usable; if so few are that the policy calls it a panic, nobody is left out. Those that drain
    /// count only where nobody else is left.
    pub(super) fn narrow(
        &mut self,
        policy: &BalancePolicy,
        own: Option<Own<'_>>,
        is_usable: impl Fn(&Endpoint, &EndpointState) -> bool,
    ) {
        let all: Vec<Judged<'_>> = in_order(&self.snapshot)
            .zip(&self.states)
            .map(|(endpoint, state)| Judged { endpoint, state, is_usable: is_usable(endpoint, state) })
            .collect();
        let (serving, draining) = all.split_at(self.serving.min(all.len()));
        let among = if serving.is_empty() { draining } else { serving };
        let usable = among.iter().filter(|judged| judged.is_usable).count();
        let panics = policy.panics(usable, among.len());
        let nobody = usable == 0 && !panics;
        let among = if nobody { draining } else { among };
        let left: Vec<_> = among.iter().filter(|judged| judged.is_usable || panics).collect();
        let is_whole = !nobody && left.len() == among.len();
        self.narrowed = match own {
            None if is_whole => None,
            own => Some(Narrowed::new(among, &left, own)),
        };
        self.states.iter().for_each(|state| state.standing().usable.set(false));
        self.candidates().iter().for_each(|state| state.standing().usable.set(true));
    }

    /// Who may be picked.
    pub(super) fn candidates(&self) -> &[Rc<EndpointState>] {
        self.narrowed.as_ref().map_or_else(|| self.all_alike(), |narrowed| &narrowed.states)
    }

    /// Who may be picked, where it matters in which zone they are.
    pub(super) fn zones(&self) -> Option<Zones<'_>> {
        let narrowed = self.narrowed.as_ref()?;
        let (here, elsewhere) = narrowed.states.split_at_checked(narrowed.here)?;
        let load = |all, states: &[_], in_flight: &Cell<u32>| locality::Endpoints {
            all,
            usable: states.len(),
            in_flight: in_flight.get() as usize,
        };
        (!here.is_empty() && !elsewhere.is_empty()).then(|| Zones {
            here,
            elsewhere,
            load_here: load(narrowed.all_here, here, &narrowed.in_flight.here),
            load_elsewhere: load(narrowed.all_elsewhere, elsewhere, &narrowed.in_flight.elsewhere),
        })
    }

    /// The endpoint with this address.
    pub(super) fn at(&self, address: SocketAddr) -> Option<&Rc<EndpointState>> {
        let index = self.by_address.get_or_init(|| {
            self.states.iter().enumerate().map(|(index, state)| (state.endpoint.address, index)).collect()
        });
        self.states.get(*index.get(&address)?)
    }

    /// The endpoint that a hash leads to; if that one is not usable, always the same other one.
    pub(super) fn by_hash(
        &self,
        algorithm: Algorithm,
        hash: u64,
        is_usable: impl Fn(&EndpointState) -> bool,
    ) -> Option<&Rc<EndpointState>> {
        let states = self.all_alike();
        let table = self.table.get_or_init(|| Table::build(algorithm, states));
        let is_usable = |index: usize| states.get(index).is_some_and(|state| is_usable(state));
        let index = match table {
            Table::Ring(ring) => ring.pick(hash, is_usable),
            Table::Maglev(table) => table.pick(hash, is_usable),
        };
        states.get(index?)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Rc<EndpointState>] {
        &self.states
    }

    /// All that serve, or all if none does.
    fn all_alike(&self) -> &[Rc<EndpointState>] {
        if self.serving == 0 { &self.states } else { self.states.get(..self.serving).unwrap_or_default() }
    }
}

/// An endpoint as it is told now, and what is made of it.
struct Judged<'a> {
    endpoint: &'a Endpoint,
    state: &'a Rc<EndpointState>,
    is_usable: bool,
}

impl Narrowed {
    fn new(among: &[Judged<'_>], left: &[&Judged<'_>], own: Option<Own<'_>>) -> Self {
        let near = own.as_ref().map_or(Near::Nothing, |own| Near::of(own.place, left));
        let is_here = |judged: &Judged<'_>| near.has(judged.endpoint);
        among.iter().for_each(|judged| judged.state.standing().here.set(is_here(judged)));
        let (here, elsewhere): (Vec<&Judged<'_>>, Vec<&Judged<'_>>) = left.iter().partition(|judged| is_here(judged));
        let all_here = among.iter().filter(|judged| is_here(judged)).count();
        Self {
            states: here.iter().chain(&elsewhere).map(|judged| Rc::clone(judged.state)).collect(),
            here: here.len(),
            all_here,
            all_elsewhere: among.len() - all_here,
            in_flight: own.map(|own| Rc::clone(own.in_flight)).unwrap_or_default(),
        }
    }
}

impl<'a> Near<'a> {
    fn of(own: &'a Place, usable: &[&Judged<'_>]) -> Self {
        let on_node = !own.node.is_empty() && usable.iter().any(|judged| judged.endpoint.place.node == own.node);
        match own {
            Place { node, .. } if on_node => Self::Node(node),
            Place { zone, .. } if !zone.is_empty() => Self::Zone(zone),
            _ => Self::Nothing,
        }
    }

    fn has(&self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Node(node) => *endpoint.place.node == **node,
            Self::Zone(zone) => *endpoint.place.zone == **zone,
            Self::Nothing => false,
        }
    }
}

impl Table {
    fn build(algorithm: Algorithm, states: &[Rc<EndpointState>]) -> Self {
        let endpoints: Vec<_> = states.iter().map(|state| (hash_address(state.endpoint.address), 1)).collect();
        if algorithm == Algorithm::Maglev {
            Self::Maglev(maglev::Table::build(&endpoints))
        } else {
            Self::Ring(hash_ring::Ring::build(&endpoints))
        }
    }
}

/// Those that serve, then those that drain.
fn in_order(snapshot: &Endpoints) -> impl Iterator<Item = &Arc<Endpoint>> {
    let serving = snapshot.all.iter().filter(|endpoint| !endpoint.draining);
    serving.chain(snapshot.all.iter().filter(|endpoint| endpoint.draining))
}
