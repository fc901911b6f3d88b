//! What is done to the mesh, and what is measured meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::MissedTickBehavior;
use weft_tests::quantile::quantile;

use crate::Options;
use crate::board::{Board, Phase};
use crate::control::Control;
use crate::fleet::Fleet;
use crate::mesh::{ENDPOINTS, Mesh};

/// How long a change may take before it counts as lost.
const LOST: Duration = Duration::from_secs(30);
/// The longest pause between two single changes; how long it is, is chance.
const PAUSE: Duration = Duration::from_millis(20);

/// All that was measured of the control plane.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// At each size of the fleet.
    pub(crate) curve: Vec<Point>,
    pub(crate) restart: Restart,
    /// From the start of the process until it was ready, with all manifests read.
    pub(crate) start: Duration,
    /// Resident at the end, KiB: with all proxies connected, after everything.
    pub(crate) rss: u64,
    /// The most that it ever was, KiB.
    pub(crate) rss_peak: u64,
    /// The same before the first proxy came.
    pub(crate) rss_alone: u64,
    /// What was sent to those who need it not, in all phases.
    pub(crate) needless: u64,
    /// How often a stream could not be opened, or ended by itself.
    pub(crate) retries: u64,
}

/// What was measured at one size of the fleet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) proxies: u32,
    /// From a change to the last proxy that it concerns.
    pub p50: Duration,
    pub p99: Duration,
    /// The control plane's processor time for a change.
    pub(crate) cpu: Duration,
    /// Until all proxies that connect at once hold all they need.
    pub(crate) reconnect: Duration,
    /// The control plane's processor time for that.
    pub(crate) reconnect_cpu: Duration,
    /// Resident, KiB.
    pub(crate) rss: u64,
}

/// What was measured while pods were replaced one after the other, at a given rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restart {
    pub(crate) changes: u32,
    pub(crate) took: Duration,
    pub p50: Duration,
    pub p99: Duration,
    /// From the last change until all had reached their proxies.
    pub(crate) behind: Duration,
    /// The control plane's processor time.
    pub(crate) cpu: Duration,
}

impl Restart {
    /// Pods replaced a second.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(self.changes) / self.took.as_secs_f64()
    }
}

/// Measures everything.
///
/// # Errors
/// Where something does not work at all.
pub(crate) async fn all(options: &Options) -> Result<Measured> {
    let most = options.proxies.iter().max().copied().unwrap_or_default();
    ensure!(most <= (ENDPOINTS - 1) * options.services, "{most} proxies leave no pod of a Service without one");
    eprintln!("writing {} Services with {} endpoints", options.services, options.services * ENDPOINTS);
    let mut mesh = Mesh::create(options.services)?;
    let begun = Instant::now();
    let control = Arc::new(Control::start(&mesh).await?);
    let start = begun.elapsed();
    let (rss_alone, _) = control.memory()?;
    eprintln!("the control plane was ready after {start:.1?} and has {} MiB", rss_alone / 1024);
    let board = Arc::new(Board::default());
    let mut fleet = Fleet::new(Arc::clone(&control), Arc::clone(&board), options.services, options.dialled);
    let mut scene = Scene { options, mesh: &mut mesh, control: &control, board: &board, needless: 0 };
    let mut curve = Vec::new();
    for proxies in &options.proxies {
        curve.push(scene.point(&mut fleet, *proxies).await?);
    }
    let restart = scene.restart(&mut fleet).await?;
    let needless = scene.needless;
    let (rss, rss_peak) = control.memory()?;
    let retries = board.retries();
    Ok(Measured { curve, restart, start, rss, rss_peak, rss_alone, needless, retries })
}

struct Scene<'a> {
    options: &'a Options,
    mesh: &'a mut Mesh,
    control: &'a Control,
    board: &'a Board,
    needless: u64,
}

impl Scene<'_> {
    async fn point(&mut self, fleet: &mut Fleet, proxies: u32) -> Result<Point> {
        fleet.grow(self.mesh, proxies).await?;
        let cpu = self.control.cpu()?;
        let reconnect = fleet.reconnect().await?;
        let reconnect_cpu = self.control.cpu()? - cpu;
        let cpu = self.control.cpu()?;
        let phase = self.changes(fleet).await?;
        let cpu = (self.control.cpu()? - cpu) / self.options.changes;
        let (rss, _) = self.control.memory()?;
        let (p50, p99) = (quantile(&phase.latencies, 0.5), quantile(&phase.latencies, 0.99));
        let point = Point { proxies, p50, p99, cpu, reconnect, reconnect_cpu, rss };
        eprintln!("{proxies} proxies: a change takes {p99:.1?} at p99; all at once take {reconnect:.1?}");
        Ok(point)
    }

    /// Single changes, one after the other.
    async fn changes(&mut self, fleet: &Fleet) -> Result<Phase> {
        self.board.begin();
        // The last of a Service's pods has no simulated proxy.
        let pod = ENDPOINTS - 1;
        for _ in 0..self.options.changes {
            let service = rand::random::<u32>() % self.options.services;
            self.replace(fleet, service, pod)?;
            self.board.settled(LOST).await?;
            // Not in step with anything that the control plane does at intervals.
            tokio::time::sleep(PAUSE.mul_f64(rand::random())).await;
        }
        Ok(self.end())
    }

    /// Replaces each pod once, so many a second, and where it has a simulated proxy that, too.
    async fn restart(&mut self, fleet: &mut Fleet) -> Result<Restart> {
        let Options { services, rate, .. } = *self.options;
        let changes = ENDPOINTS * services;
        eprintln!("replacing {changes} pods, {rate} a second");
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let cpu = self.control.cpu()?;
        self.board.begin();
        let begun = Instant::now();
        for number in 0..changes {
            ticks.tick().await;
            // A pod of each Service after the other; which one, differs, so that those with a proxy are spread evenly.
            let service = number % services;
            let pod = (number / services + service) % ENDPOINTS;
            self.replace(fleet, service, pod)?;
            fleet.replace(service, pod, &self.mesh.pod(service, pod));
        }
        let took = begun.elapsed();
        self.board.settled(LOST).await?;
        let behind = begun.elapsed() - took;
        let cpu = self.control.cpu()? - cpu;
        fleet.all_synced().await?;
        let phase = self.end();
        let (p50, p99) = (quantile(&phase.latencies, 0.5), quantile(&phase.latencies, 0.99));
        let restart = Restart { changes, took, p50, p99, behind, cpu };
        eprintln!("that took {took:.1?}; {behind:.1?} after the last one all was told");
        Ok(restart)
    }

    fn replace(&mut self, fleet: &Fleet, service: u32, pod: u32) -> Result<()> {
        self.board.change(service, &self.mesh.upcoming(), fleet.interested(service));
        self.mesh.replace(service, pod)
    }

    fn end(&mut self) -> Phase {
        let phase = self.board.end();
        self.needless += phase.needless;
        phase
    }
}
