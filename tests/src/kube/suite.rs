//! Trials that share a cluster, one after the other.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures::FutureExt as _;
use libtest_mimic::{Arguments, Failed, Trial};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;
use weft_cli::world::{self, World};

use super::cluster::Cluster;
use super::node;

/// Lines of each process's log that a failed trial prints.
const LOG_LINES: usize = 15;
/// How long the cluster and the mesh may take to come up.
const START: Duration = Duration::from_secs(300);

/// The trials of a program.
#[derive(Default)]
pub struct Suite {
    trials: Vec<Trial>,
}

impl Suite {
    /// A trial that needs no cluster.
    pub fn alone(&mut self, name: &str, test: impl FnOnce() -> Result<()> + Send + 'static) {
        self.trials.push(Trial::test(name, move || test().map_err(|error| Failed::from(format!("{error:?}")))));
    }

    /// A trial on the cluster as Kubernetes makes it. They run in the order in which they are added, one at a time.
    pub fn bare<F, T>(&mut self, name: &str, limit: Duration, test: T)
    where
        T: FnOnce(Arc<Cluster>) -> F + Send + 'static,
        F: Future<Output = Result<()>> + 'static,
    {
        self.trials.push(Trial::test(name, move || {
            let stage = stage().map_err(Failed::from)?;
            let (cluster, begin) = (Arc::clone(&stage.cluster), Instant::now());
            let result = stage.hand.run(limit, move || test(cluster));
            eprintln!("    {:.1} s", begin.elapsed().as_secs_f64());
            result.map_err(|error| Failed::from(format!("{error:?}")))
        }));
    }

    /// A trial on the cluster with Weft installed in it, by its chart with the values that it comes with.
    pub fn trial<F, T>(&mut self, name: &str, limit: Duration, test: T)
    where
        T: FnOnce(Arc<Cluster>) -> F + Send + 'static,
        F: Future<Output = Result<()>> + 'static,
    {
        self.bare(name, START + limit, move |cluster| async move {
            cluster.meshed().await.context("install Weft")?;
            let outcome = tokio::time::timeout(limit, test(Arc::clone(&cluster))).await;
            match outcome.unwrap_or_else(|_| Err(anyhow!("still at it after {limit:?}"))) {
                Ok(()) => Ok(()),
                Err(error) => Err(anyhow!("{error:?}\n{}", cluster.pods_and_logs().await)),
            }
        });
    }

    /// Holds the cluster with Weft in it until the program is ended, for people; runs only where it is asked for by its name.
    pub fn hold(&mut self) {
        self.trial("hold", Duration::from_secs(24 * 3600), async |cluster: Arc<Cluster>| {
            eprintln!("{}", cluster.how_to_enter());
            std::future::pending().await
        });
        self.trials = self
            .trials
            .drain(..)
            .map(|trial| match trial.name() {
                "hold" => trial.with_ignored_flag(true),
                _ => trial,
            })
            .collect();
    }
}

/// Enters namespaces, runs the trials that `fill` adds and the command line asks for, and prints `N passed, N failed` last of all.
///
/// Must come first in `main`.
pub fn run(fill: impl FnOnce(&mut Suite)) -> ExitCode {
    if let Err(error) = world::enter() {
        eprintln!("These tests need network namespaces: {error}");
        return ExitCode::FAILURE;
    }
    let mut suite = Suite::default();
    fill(&mut suite);
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let listing = arguments.list;
    let conclusion = libtest_mimic::run(&arguments, suite.trials);
    clean();
    if !listing {
        println(&format!("{} passed, {} failed", conclusion.num_passed, conclusion.num_failed));
    }
    conclusion.exit_code()
}

fn println(line: &str) {
    drop(std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes()));
}

/// What the trials share.
struct Stage {
    hand: Stagehand,
    cluster: Arc<Cluster>,
}

static STAGE: OnceLock<Result<Stage, String>> = OnceLock::new();

fn stage() -> Result<&'static Stage, String> {
    STAGE
        .get_or_init(|| make_stage().map_err(|error| format!("there is no cluster: {error:?}")))
        .as_ref()
        .map_err(Clone::clone)
}

fn make_stage() -> Result<Stage> {
    let begin = Instant::now();
    let world = World::new()?;
    let hand = Stagehand::start(&world)?;
    let inside = world.clone();
    let making = move || async move {
        let cluster = Arc::new(Cluster::start(inside).await?);
        eprintln!("==> the node is ready after {:.1} s", begin.elapsed().as_secs_f64());
        Ok(cluster)
    };
    let cluster = hand.run(START, making).with_context(|| world.log_tails(LOG_LINES))?;
    Ok(Stage { hand, cluster })
}

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// One thread inside the world's switch, where everything that talks to the cluster is done: clients belong to a runtime, and
/// sockets to a namespace.
struct Stagehand(mpsc::UnboundedSender<Job>);

impl Stagehand {
    fn start(world: &World) -> Result<Self> {
        let (send, mut jobs) = mpsc::unbounded_channel::<Job>();
        let switch = world.switch().clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                while let Some(job) = jobs.recv().await {
                    job().await;
                }
            });
            anyhow::Ok(())
        };
        std::thread::Builder::new().name("cluster".to_owned()).spawn(move || switch.run(work))?;
        Ok(Self(send))
    }

    /// Does something there, within `limit`, and waits for what comes of it.
    fn run<T, F>(&self, limit: Duration, task: impl FnOnce() -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + 'static,
    {
        let (send, receive) = std::sync::mpsc::channel();
        let job = move || async move {
            let guarded = AssertUnwindSafe(async { task().await }).catch_unwind();
            let outcome = match tokio::time::timeout(limit, guarded).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(anyhow!("panicked")),
                Err(_) => Err(anyhow!("still at it after {limit:?}")),
            };
            drop(send.send(outcome));
        };
        self.0.send(Box::new(|| Box::pin(job()))).map_err(|_| anyhow!("the cluster's thread has ended"))?;
        receive.recv().context("the cluster's thread has ended")?
    }
}

/// Containers would outlive this program by a moment, their cgroups and the world's folder for good: ends every process of the world
/// but this one and its supervisors, then takes the cgroups and the folder away. (The stage is never dropped.)
fn clean() {
    // All of them are ours: `enter` has made a process namespace.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    std::thread::sleep(Duration::from_millis(500));
    node::remove_cgroups();
    if let Some(Ok(stage)) = STAGE.get() {
        let folder = stage.cluster.world().folder();
        // Never through a mount into what is not ours.
        if let Err(error) = unmount_below(folder).and_then(|()| std::fs::remove_dir_all(folder)) {
            eprintln!("==> {} stays behind: {error}", folder.display());
        }
    }
}

/// Lets go of what the kubelet and containerd have mounted in a folder, the last first.
fn unmount_below(folder: &Path) -> std::io::Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let below: Vec<_> = points.filter(|point| point.starts_with(folder)).collect();
    below.into_iter().rev().try_for_each(|point| Ok(umount2(point, MntFlags::MNT_DETACH)?))
}
