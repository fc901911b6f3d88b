//! From a configuration to running threads: one worker for each core, and this thread for everything else.
//!
//! ```text
//! this thread            identity ─► discovery ─► admin, telemetry export, signals
//!                            │           │
//!                            ▼           ▼  immutable snapshots
//! worker 0..n            listeners, connections, upstream pools
//! ```

use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use weft_certs::identity::WorkloadIdentity;

use crate::config::Config;
use crate::discovery::{self, Directory};
use crate::drain::{self, Stages};
use crate::path::socket;
use crate::worker::{Listeners, Worker};
use crate::{admin, control_channel, identity, telemetry};

/// Runs the proxy until it is told to end.
///
/// # Errors
/// Where a port is taken or a thread cannot be started.
pub(crate) fn run(config: Config, give_back: fn()) -> anyhow::Result<()> {
    let log = telemetry::init_logging(&config.telemetry)?;
    weft_certs::tls::install_policy(config.tls.clone())?;
    let config = Arc::new(config);
    let listeners = bind(&config)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(control(config, listeners, log, give_back))
}

/// All ports are bound before anything else, so that a port in use is an error at once and early connections wait in
/// the kernel's queue until the proxy has its identity.
fn bind(config: &Config) -> anyhow::Result<Vec<Listeners>> {
    let workers = 0..config.workers.get();
    let bound = workers.map(|_| {
        Ok(Listeners {
            outbound: socket::listen(config.outbound.port).context("WEFT_OUTBOUND_PORT")?,
            inbound: socket::listen(config.inbound.port).context("WEFT_INBOUND_PORT")?,
            mesh: socket::listen(config.inbound.mesh_port).context("WEFT_MESH_PORT")?,
        })
    });
    bound.collect()
}

/// What this thread does while the workers work.
async fn control(
    config: Arc<Config>,
    listeners: Vec<Listeners>,
    log: telemetry::LogHandle,
    give_back: fn(),
) -> anyhow::Result<()> {
    let (drainer, drain) = drain::channel();
    let exporters = telemetry::start(&config)?;
    let admin = admin::start(&config, log, drainer.clone(), exporters.registry()).await?;
    tokio::spawn({
        let drainer = drainer.clone();
        async move {
            terminated().await;
            drainer.start();
        }
    });

    let settings = identity::Settings::of(&config);
    let identity = tokio::select! {
        identity = identity::obtain(&settings) => identity,
        () = drain.started() => return Ok(()),
    };
    tokio::spawn(identity::keep_fresh(identity.clone(), settings));

    let (directory, client) =
        discovery::Client::new(discovery::Settings::new(config.identity.node_id(), config.outbound.discovery_timeout));
    let channel = control_channel::channel(&control_channel::Target::of(&config), &identity);
    tokio::spawn(exporters.reporter(config.identity.node_id()).run(channel.clone()));
    tokio::spawn(client.run(channel, identity.subscribe()));
    admin.serving(&identity, &directory);

    let stages = Stages::new(drain, listeners.len());
    let ended = start_workers(&config, listeners, &directory, &identity, &exporters, &stages, give_back)?;
    tracing::info!(identity = %identity.id(), workers = config.workers, "serving");
    for worker in ended {
        worker.await.context("a worker ended unexpectedly")?;
    }
    exporters.flush().await;
    tracing::info!("drained");
    Ok(())
}

/// Starts the worker threads; each receiver tells that its worker is through.
fn start_workers(
    config: &Arc<Config>,
    listeners: Vec<Listeners>,
    directory: &Directory,
    identity: &WorkloadIdentity,
    exporters: &telemetry::Exporters,
    drain: &Stages,
    give_back: fn(),
) -> anyhow::Result<Vec<oneshot::Receiver<()>>> {
    let mut ended = Vec::with_capacity(listeners.len());
    for (number, listeners) in listeners.into_iter().enumerate() {
        let (done, receiver) = oneshot::channel();
        let (config, directory, identity) = (Arc::clone(config), directory.clone(), identity.clone());
        let (telemetry, drain) = (exporters.worker(), drain.clone());
        let work = move || {
            let worker = Worker::new(config, directory, identity, telemetry, drain, give_back);
            match work(worker, listeners) {
                // The receiver is gone only when the process ends.
                Ok(()) => drop(done.send(())),
                Err(error) => tracing::error!(%error, "a worker cannot work"),
            }
        };
        thread::Builder::new().name(format!("worker-{number}")).spawn(work).context("cannot start a thread")?;
        ended.push(receiver);
    }
    Ok(ended)
}

fn work(worker: Worker, listeners: Listeners) -> std::io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, Rc::new(worker).run(listeners))
}

/// Ends on SIGTERM or SIGINT.
async fn terminated() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        tracing::error!("signals cannot be watched: only SIGKILL will end the proxy");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}
