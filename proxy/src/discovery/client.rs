//! The one task that speaks with the control plane; it runs on the control thread.
//!
//! It joins the pure parts, [`Graph`] (what is needed, what is there), [`Delta`] (what is to be sent) and [`Holdings`]
//! (what threads see), with those that do I/O: [`link`] (the stream) and [`dns`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use hickory_resolver::TokioResolver;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tonic::transport::Channel;
use weft_api::xds::ResourceKind;
use weft_api::xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use super::delta::Delta;
use super::directory::{Admission, Answer, Command, Directory, Holdings, Shared};
use super::dns::Names;
use super::graph::{Change, Graph};
use super::link;
use crate::resolver;

/// How often it is checked what has not been used, as a share of the idle time.
const SWEEPS: u32 = 10;

/// What discovery is told at its start.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// `node.id`: `POD.NAMESPACE`.
    pub(crate) node_id: String,
    /// How long a look-up waits for the control plane.
    pub(crate) timeout: Duration,
    /// How many destinations are held at most. [`Settings::CAPACITY`] unless told.
    pub(crate) capacity: usize,
    /// After how long without use a destination is unsubscribed. [`Settings::IDLE`] unless told.
    pub(crate) idle: Duration,
}

impl Settings {
    /// The default bound on destinations.
    pub(crate) const CAPACITY: usize = 10_000;
    /// The default expiry of unused destinations.
    pub(crate) const IDLE: Duration = Duration::from_secs(600);

    /// The settings of a proxy, with the defaults.
    pub(crate) fn new(node_id: String, timeout: Duration) -> Self {
        Self { node_id, timeout, capacity: Self::CAPACITY, idle: Self::IDLE }
    }
}

/// The xDS client. [`Client::run`] belongs on the control thread.
#[derive(Debug)]
pub(crate) struct Client {
    settings: Settings,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
}

impl Client {
    /// A client, and the handle through which all threads see what it learns.
    pub(crate) fn new(settings: Settings) -> (Directory, Self) {
        let (directory, shared, commands) = Directory::new(settings.timeout);
        (directory, Self { settings, shared, commands })
    }

    /// Speaks with the control plane until all handles are gone; reconnects by itself.
    ///
    /// `certificate_expires` tells when the certificate ends; each change is told to the control plane.
    pub(crate) async fn run(self, channel: Channel, certificate_expires: watch::Receiver<SystemTime>) {
        self.run_with(channel, certificate_expires, resolver::system()).await;
    }

    async fn run_with(
        mut self,
        channel: Channel,
        mut certificate_expires: watch::Receiver<SystemTime>,
        resolver: Result<TokioResolver, String>,
    ) {
        let (events, mut link_events) = mpsc::channel(1);
        let mut link_task = JoinSet::new();
        link_task.spawn(link::run(channel, events));
        let (names, mut resolved) = Names::new(resolver);
        let expires = *certificate_expires.borrow_and_update();
        let mut state = State::new(self.settings.clone(), self.shared.clone(), names, expires);
        let mut sweep = tokio::time::interval((self.settings.idle / SWEEPS).max(Duration::from_millis(1)));
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renewals = true;
        loop {
            let requests = state.requests.clone();
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => state.command(command, Instant::now()),
                    None => return,
                },
                Some(event) = link_events.recv() => state.event(event, Instant::now()),
                Some(name) = resolved.recv() => {
                    state.graph.resolved(&name.host, name.addresses.as_deref(), Instant::now());
                }
                room = reserve(requests.as_ref()), if state.delta.is_pending() => state.send(room),
                _ = sweep.tick() => state.sweep(Instant::now()),
                changed = certificate_expires.changed(), if renewals => match changed {
                    Ok(()) => state.delta.certificate_renewed(*certificate_expires.borrow_and_update()),
                    Err(_) => renewals = false,
                },
            }
            state.settle();
        }
    }
}

/// Waits for room for a request; forever while there is no stream.
async fn reserve(
    requests: Option<&mpsc::Sender<DeltaDiscoveryRequest>>,
) -> Option<mpsc::Permit<'_, DeltaDiscoveryRequest>> {
    match requests {
        Some(requests) => requests.reserve().await.ok(),
        None => std::future::pending().await,
    }
}

/// What the task works with between two events.
#[derive(Debug)]
struct State {
    shared: Arc<Shared>,
    graph: Graph,
    delta: Delta,
    holdings: Holdings,
    names: Names,
    waiting: HashMap<SocketAddr, Vec<oneshot::Sender<Answer>>>,
    /// Takes requests while there is a stream.
    requests: Option<mpsc::Sender<DeltaDiscoveryRequest>>,
    /// Whether the last thing that was said about the connection in the log is that it is gone.
    said_gone: bool,
    /// Whether the last thing that was said about room in the log is that there is none.
    said_full: bool,
}

impl State {
    fn new(settings: Settings, shared: Arc<Shared>, names: Names, certificate_expires: SystemTime) -> Self {
        Self {
            holdings: Holdings::new(shared.clone(), settings.capacity, settings.idle),
            shared,
            graph: Graph::new(Instant::now()),
            delta: Delta::new(settings.node_id, certificate_expires),
            names,
            waiting: HashMap::new(),
            requests: None,
            said_gone: false,
            said_full: false,
        }
    }

    fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Want(dialled, answer) => self.want(dialled, answer, now),
            Command::Resources(answer) => {
                // Whoever asked may have given up.
                let _ = answer.send(self.graph.state(now));
            }
        }
    }

    fn want(&mut self, dialled: SocketAddr, answer: oneshot::Sender<Answer>, now: Instant) {
        match self.holdings.admit(dialled, now) {
            Admission::Held => {}
            Admission::Admitted { evicted } => {
                self.said_full = false;
                evicted.into_iter().for_each(|dialled| self.release(dialled));
            }
            Admission::Full => {
                if !std::mem::replace(&mut self.said_full, true) {
                    tracing::warn!(%dialled, "no room for another destination: all that are held are in use");
                }
                let _ = answer.send(Answer::Unavailable);
                return;
            }
        }
        if let Some(published) = self.holdings.published(dialled) {
            let _ = answer.send(published);
            return;
        }
        let waiting = self.waiting.entry(dialled).or_default();
        waiting.retain(|waiter| !waiter.is_closed());
        waiting.push(answer);
        self.graph.want(dialled, now);
    }

    fn event(&mut self, event: link::Event, now: Instant) {
        match event {
            link::Event::Opening(requests) => {
                self.requests = Some(requests);
                self.graph.take_changes();
                self.delta.open(self.graph.subscriptions());
            }
            link::Event::Open => {
                self.said_gone = false;
                self.shared.connected.store(true, Ordering::Relaxed);
                tracing::info!("connected to the control plane");
            }
            link::Event::Response(response) => self.response(&response, now),
            link::Event::Closed(reason) => {
                self.requests = None;
                self.delta.close();
                self.shared.connected.store(false, Ordering::Relaxed);
                if !std::mem::replace(&mut self.said_gone, true) {
                    tracing::warn!(%reason, "no connection to the control plane; what is held stays in force, trying again");
                } else {
                    tracing::debug!(%reason, "still no connection to the control plane");
                }
            }
        }
    }

    fn response(&mut self, response: &DeltaDiscoveryResponse, now: Instant) {
        let error = match ResourceKind::from_type_url(&response.type_url) {
            Some(kind) => {
                let mut removed = response.removed_resources.clone();
                removed.extend(response.removed_resource_names.iter().map(|resource| resource.name.clone()));
                let faults = self.graph.apply(kind, &response.resources, &removed, now);
                self.shared.refused_resources.fetch_add(faults.len() as u64, Ordering::Relaxed);
                for fault in &faults {
                    tracing::warn!(kind = kind.name(), %fault, "refused a resource; its last good version stays");
                }
                (!faults.is_empty()).then(|| faults.join("; "))
            }
            None => Some(format!("type_url {:?} was never subscribed to", response.type_url)),
        };
        self.delta.acknowledge(response.type_url.clone(), response.nonce.clone(), error);
    }

    fn send(&mut self, room: Option<mpsc::Permit<'_, DeltaDiscoveryRequest>>) {
        match room {
            Some(room) => {
                if let Some(request) = self.delta.next_request() {
                    room.send(request);
                }
            }
            // The stream is ending; the link will tell.
            None => self.requests = None,
        }
    }

    fn sweep(&mut self, now: Instant) {
        for dialled in self.holdings.expire(now) {
            self.release(dialled);
        }
    }

    fn release(&mut self, dialled: SocketAddr) {
        self.graph.release(dialled);
        self.waiting.remove(&dialled);
    }

    /// Passes on what the last event has changed.
    fn settle(&mut self) {
        for (dialled, answer) in self.graph.take_answers() {
            match &answer {
                Answer::Known(destination) => self.holdings.publish(dialled, Some(destination.clone())),
                Answer::Unknown => self.holdings.publish(dialled, None),
                Answer::Unavailable => {}
            }
            for waiter in self.waiting.remove(&dialled).into_iter().flatten() {
                let _ = waiter.send(answer.clone());
            }
        }
        if let Some(inbound) = self.graph.take_inbound() {
            self.shared.publish_inbound(inbound);
        }
        for change in self.graph.take_name_changes() {
            self.names.change(change);
        }
        for change in self.graph.take_changes() {
            // While there is no stream the next one begins with all subscriptions.
            match change {
                Change::Subscribe(key) => self.delta.subscribe(key),
                Change::Unsubscribe(key) => self.delta.unsubscribe(key),
            }
        }
    }
}

#[cfg(test)]
mod tests;
