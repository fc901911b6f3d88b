//! A worker: one thread with its own listeners, its own upstream connections and its own share of the metrics.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use weft_certs::identity::WorkloadIdentity;

use crate::config::Config;
use crate::discovery::Directory;
use crate::drain::Stages;
use crate::path::mirror::Copies;
use crate::path::socket;
use crate::path::upstream::{MAINTENANCE, Upstreams};
use crate::telemetry::Telemetry;
use crate::{inbound, outbound};

/// Connections that one worker serves at once, in each direction; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 16_384;
/// Requests that one worker has in flight at most; further ones are answered with 503.
const MAX_IN_FLIGHT: u32 = 16_384;
/// How long to wait after the kernel refused to accept, for lack of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What all connections of one worker work with.
pub(crate) struct Worker {
    pub(crate) config: Arc<Config>,
    pub(crate) directory: Directory,
    pub(crate) tls: Tls,
    pub(crate) upstreams: Upstreams,
    pub(crate) telemetry: Telemetry,
    pub(crate) drain: Stages,
    /// Copies of requests that are under way.
    pub(crate) copies: Copies,
    in_flight: Cell<u32>,
    /// Returns freed memory to the system.
    give_back: fn(),
}

/// What inbound connections prove themselves with. Made once; each handshake takes the identity of its moment.
pub(crate) struct Tls {
    /// For the mesh's own door.
    pub(crate) mesh: Arc<ServerConfig>,
    /// For mesh clients that dial the pod itself.
    pub(crate) direct: Arc<ServerConfig>,
    /// The server name by which they ask for it.
    pub(crate) server_name: String,
}

/// One worker's listening sockets, bound before any thread starts so that a port in use is an error at the start.
pub(crate) struct Listeners {
    pub(crate) outbound: std::net::TcpListener,
    pub(crate) inbound: std::net::TcpListener,
    pub(crate) mesh: std::net::TcpListener,
}

impl Worker {
    pub(crate) fn new(
        config: Arc<Config>,
        directory: Directory,
        identity: WorkloadIdentity,
        telemetry: Telemetry,
        drain: Stages,
        give_back: fn(),
    ) -> Self {
        let (metrics, conditions) = (telemetry.metrics.clone(), telemetry.conditions.clone());
        let upstreams = Upstreams::new(identity.clone(), config.socket_mark, config.workers, metrics, conditions);
        let tls = Tls {
            mesh: weft_certs::tls::mesh_server(&identity),
            direct: weft_certs::tls::direct_server(&identity),
            server_name: identity.id().server_name(),
        };
        let (copies, in_flight) = (Copies::default(), Cell::new(0));
        Self { config, directory, tls, upstreams, telemetry, drain, copies, in_flight, give_back }
    }

    /// Serves until the drain, then until the last connection has ended or the grace period has.
    ///
    /// # Errors
    /// Where the listeners cannot be taken into the runtime.
    pub(crate) async fn run(self: Rc<Self>, listeners: Listeners) -> std::io::Result<()> {
        let (to_us, ours) = (TaskTracker::new(), TaskTracker::new());
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mesh = socket::adopt(listeners.mesh)?;
        let outbound = accept_all(socket::adopt(listeners.outbound)?, &permits, &ours, |stream| {
            outbound::serve(Rc::clone(&self), stream)
        });
        let inbound = accept_all(socket::adopt(listeners.inbound)?, &permits, &to_us, |stream| {
            inbound::serve_redirected(Rc::clone(&self), stream)
        });
        // Peers that are refused here go elsewhere, so the mesh's door closes as soon as the drain begins.
        let mesh = async {
            let accept = accept_all(mesh, &permits, &to_us, |stream| inbound::serve_mesh(Rc::clone(&self), stream));
            tokio::select! {
                never = accept => never,
                () = self.drain.inbound.started() => {}
            }
            std::future::pending().await
        };
        let drained = async {
            self.drain.inbound.started().await;
            to_us.close();
            ours.close();
            let all = async {
                to_us.wait().await;
                self.drain.inbound_ended();
                ours.wait().await;
            };
            if tokio::time::timeout(self.config.drain.grace, all).await.is_err() {
                let open = to_us.len() + ours.len();
                tracing::warn!(open, "the grace period is over; what is still open is cut off");
            }
        };
        tokio::select! {
            never = outbound => never,
            never = inbound => never,
            never = mesh => never,
            () = self.maintain() => {}
            () = drained => {}
        }
        Ok(())
    }

    /// Counts a request in, unless there are too many already.
    pub(crate) fn admit(self: &Rc<Self>) -> Option<Admitted> {
        let in_flight = self.in_flight.get();
        if in_flight >= MAX_IN_FLIGHT {
            return None;
        }
        self.in_flight.set(in_flight + 1);
        Some(Admitted(Rc::clone(self)))
    }

    async fn maintain(&self) {
        let mut tick = tokio::time::interval(MAINTENANCE);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.upstreams.maintain(Instant::now(), &self.directory.inbound().place);
            self.telemetry.metrics.maintain();
            (self.give_back)();
        }
    }
}

/// A request in flight.
pub(crate) struct Admitted(Rc<Worker>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get().saturating_sub(1));
    }
}

async fn accept_all<F: Future<Output = ()> + 'static>(
    listener: TcpListener,
    permits: &Arc<Semaphore>,
    connections: &TaskTracker,
    serve: impl Fn(TcpStream) -> F,
) {
    loop {
        let Ok(permit) = Arc::clone(permits).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = socket::tune(&stream) {
                    tracing::debug!(%error, "a connection was gone before it was looked at");
                    continue;
                }
                let served = serve(stream);
                connections.spawn_local(async move {
                    served.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept; is the limit of open files too low?");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
