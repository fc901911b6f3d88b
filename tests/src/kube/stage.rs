//! The cluster that trials share, the thread that talks to it, and how all that goes at the end.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use futures::FutureExt as _;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use weft_cli::world::World;

use super::cluster::Cluster;
use super::existing::Existing;
use super::node;

/// Lines of each process's log that a failed start prints.
const LOG_LINES: usize = 15;
/// How long the cluster and the mesh may take to come up.
pub(super) const START: Duration = Duration::from_secs(300);
/// How long it may take to clear a cluster that stays.
const CLEAR: Duration = Duration::from_secs(600);

static STAGE: OnceLock<Result<Stage, String>> = OnceLock::new();

/// What the trials share.
pub(super) struct Stage {
    pub(super) hand: Stagehand,
    pub(super) cluster: Arc<Cluster>,
    folder: PathBuf,
}

impl Stage {
    /// Whether it is on a cluster that is there already.
    pub(super) fn is_borrowed() -> bool {
        Existing::is_named()
    }

    /// The stage, set up by whoever comes first.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn get() -> Result<&'static Self, String> {
        let set_up = || match Self::is_borrowed() {
            true => Self::borrow(),
            false => Self::build(),
        };
        let stage = STAGE.get_or_init(|| set_up().map_err(|error| format!("there is no cluster: {error:?}")));
        stage.as_ref().map_err(Clone::clone)
    }

    fn build() -> Result<Self> {
        let (begin, world) = (Instant::now(), World::new()?);
        let switch = world.switch().clone();
        let hand = Stagehand::start(move |work| drop(switch.run(work)), false)?;
        let (inside, folder) = (world.clone(), world.folder().to_owned());
        let making = move || async move {
            let cluster = Arc::new(Cluster::build(inside).await?);
            eprintln!("==> the node is ready after {:.1} s", begin.elapsed().as_secs_f64());
            Ok(cluster)
        };
        let cluster = hand.run(START, making).with_context(|| world.log_tails(LOG_LINES))?;
        Ok(Self { hand, cluster, folder })
    }

    fn borrow() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weft-kube-").tempdir().context("cannot make a folder")?;
        let hand = Stagehand::start(|work| work(), true)?;
        let inside = folder.path().to_owned();
        let cluster = hand.run(START, move || async move { Ok(Arc::new(Cluster::take(&inside).await?)) })?;
        Ok(Self { hand, cluster, folder: folder.keep() })
    }
}

/// Takes away what the run has made, if it has. (The stage is never dropped.)
///
/// # Errors
/// With what stays behind.
pub(super) fn clear() -> Result<()> {
    let stage = STAGE.get().and_then(|stage| stage.as_ref().ok());
    if !Stage::is_borrowed() {
        end_processes();
    }
    let Some(Stage { hand, cluster, folder }) = stage else { return Ok(()) };
    let cleared = match Stage::is_borrowed() {
        true => {
            eprintln!("==> taking away what was made in the cluster");
            let cluster = Arc::clone(cluster);
            hand.run_to_the_end(CLEAR, move || async move { cluster.clear().await })
        }
        false => Ok(()),
    };
    // Never through a mount into what is not ours.
    let removed = unmount_below(folder).and_then(|()| std::fs::remove_dir_all(folder));
    cleared.and(removed.with_context(|| folder.display().to_string()))
}

/// Containers would outlive this program by a moment, their cgroups and the world's folder for good: ends every process of the world
/// but this one and its supervisors, then takes the cgroups away.
fn end_processes() {
    // All of them are ours: `enter` has made a process namespace.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    std::thread::sleep(Duration::from_millis(500));
    node::remove_cgroups();
}

/// Lets go of what the kubelet and containerd have mounted in a folder, the last first.
fn unmount_below(folder: &Path) -> std::io::Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let below: Vec<_> = points.filter(|point| point.starts_with(folder)).collect();
    below.into_iter().rev().try_for_each(|point| Ok(umount2(point, MntFlags::MNT_DETACH)?))
}

type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;
/// What the thread does until the program ends.
type Work = Box<dyn FnOnce() + Send>;

/// One thread, inside the world's switch if there is a world, where everything that talks to the cluster is done: clients belong to
/// a runtime, and sockets to a namespace.
pub(super) struct Stagehand {
    jobs: mpsc::UnboundedSender<Job>,
    /// Whether somebody wants the run to end.
    interrupted: watch::Receiver<bool>,
}

impl Stagehand {
    /// Starts the thread; `place` does its work where that is to be done. With `heeds`, a signal that asks the program to end makes
    /// trials fail instead, so that it can clear up; a second one ends it at once.
    fn start(place: impl FnOnce(Work) + Send + 'static, heeds: bool) -> Result<Self> {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let (interrupt, interrupted) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let work = move || {
            runtime.block_on(async {
                if heeds {
                    tokio::spawn(heed(interrupt));
                }
                while let Some(job) = queue.recv().await {
                    job().await;
                }
            });
        };
        let thread = move || place(Box::new(work));
        std::thread::Builder::new().name("cluster".to_owned()).spawn(thread)?;
        Ok(Self { jobs, interrupted })
    }

    /// Does something there, within `limit` or until the run is to end, and waits for what comes of it.
    pub(super) fn run<T, F>(&self, limit: Duration, task: impl FnOnce() -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + 'static,
    {
        let mut interrupted = self.interrupted.clone();
        self.run_to_the_end(limit, move || async move {
            tokio::select! {
                biased;
                Ok(_) = interrupted.wait_for(|is| *is) => Err(anyhow!("interrupted")),
                outcome = async { task().await } => outcome,
            }
        })
    }

    /// The same, also when the run is to end.
    fn run_to_the_end<T, F>(&self, limit: Duration, task: impl FnOnce() -> F + Send + 'static) -> Result<T>
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
        self.jobs.send(Box::new(|| Box::pin(job()))).map_err(|_| anyhow!("the cluster's thread has ended"))?;
        receive.recv().context("the cluster's thread has ended")?
    }
}

/// Tells of the first signal that asks the program to end, and ends it at the second.
async fn heed(interrupt: watch::Sender<bool>) {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let Ok(mut signals) = kinds.into_iter().map(signal).collect::<std::io::Result<Vec<_>>>() else { return };
    any_of(&mut signals).await;
    // By its id: of what Ctrl-C reaches in a terminal, cargo and make end at once, and the next one is not for us any more.
    let (limit, id) = (CLEAR.as_secs() / 60, std::process::id());
    eprintln!(
        "==> interrupted: taking away what was made, for up to {limit} minutes. To end at once and leave it: kill {id}"
    );
    interrupt.send_replace(true);
    any_of(&mut signals).await;
    std::process::exit(130);
}

async fn any_of(signals: &mut [tokio::signal::unix::Signal]) {
    let waits = signals.iter_mut().map(|one| Box::pin(one.recv()));
    futures::future::select_all(waits).await;
}
