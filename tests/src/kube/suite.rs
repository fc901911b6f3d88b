//! Trials that share a cluster, one after the other.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use libtest_mimic::{Arguments, Completion, Failed, Trial};
use parking_lot::Mutex;
use weft_cli::world;

use super::cluster::{Cluster, NotPossible};
use super::stage::{self, START, Stage};

/// How long a cluster is held.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The trials that can't be made on a cluster that is there already, and why.
static NOT_POSSIBLE: Mutex<Vec<(String, String)>> = Mutex::new(Vec::new());

/// The trials of a program.
#[derive(Default)]
pub struct Suite {
    trials: Vec<Trial>,
}

impl Suite {
    /// A trial on the cluster as Kubernetes makes it. They run in the order in which they are added, one at a time.
    pub fn bare<F, T>(&mut self, name: &str, limit: Duration, test: T)
    where
        T: FnOnce(Arc<Cluster>) -> F + Send + 'static,
        F: Future<Output = Result<()>> + 'static,
    {
        let title = name.to_owned();
        self.trials.push(Trial::ignorable_test(name, move || {
            let stage = Stage::get().map_err(Failed::from)?;
            let (cluster, begin) = (Arc::clone(&stage.cluster), Instant::now());
            let result = stage.hand.run(limit, move || test(cluster));
            eprintln!("    {:.1} s", begin.elapsed().as_secs_f64());
            conclude(title, result)
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
                Err(error) if !error.is::<NotPossible>() => {
                    Err(anyhow!("{error:?}\n{}", cluster.pods_and_logs().await))
                }
                other => other,
            }
        });
    }

    /// Holds the cluster until the program is ended, for people, with Weft in it or without; runs only where it is asked for by its
    /// name.
    pub fn hold(&mut self) {
        self.trial("hold", DAY, held);
        self.bare("hold-empty", DAY, held);
        let is_asked_for = |trial: Trial| match trial.name() {
            "hold" | "hold-empty" => trial.with_ignored_flag(true),
            _ => trial,
        };
        self.trials = self.trials.drain(..).map(is_asked_for).collect();
    }
}

async fn held(cluster: Arc<Cluster>) -> Result<()> {
    eprintln!("{}", cluster.how_to_enter());
    std::future::pending().await
}

fn conclude(name: String, result: Result<()>) -> Result<Completion, Failed> {
    let Err(error) = result else { return Ok(Completion::Completed) };
    match error.downcast_ref::<NotPossible>() {
        Some(why) => {
            NOT_POSSIBLE.lock().push((name, why.to_string()));
            Ok(Completion::ignored_with(why))
        }
        None => Err(Failed::from(format!("{error:?}"))),
    }
}

/// Runs the trials that `fill` adds and the command line asks for, on the cluster that `KUBECONFIG` names, else on one that is built
/// in namespaces of the program's own; prints `N passed, N failed` last of all.
///
/// Must come first in `main`.
pub fn run(fill: impl FnOnce(&mut Suite)) -> ExitCode {
    if !Stage::is_borrowed()
        && let Err(error) = world::enter()
    {
        eprintln!("These tests need network namespaces: {error}");
        return ExitCode::FAILURE;
    }
    let mut suite = Suite::default();
    fill(&mut suite);
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let listing = arguments.list;
    // What can't be used is said once, and not by every trial.
    if Stage::is_borrowed()
        && !listing
        && let Err(error) = Stage::get()
    {
        eprintln!("==> {error}");
        return ExitCode::FAILURE;
    }
    let conclusion = libtest_mimic::run(&arguments, suite.trials);
    let cleared = stage::clear();
    if let Err(error) = &cleared {
        eprintln!("==> this stays behind: {error:#}");
    }
    if !listing {
        println(&table(conclusion.num_passed, conclusion.num_failed));
    }
    match cleared {
        Err(_) if Stage::is_borrowed() => ExitCode::FAILURE,
        _ => conclusion.exit_code(),
    }
}

/// What became of the trials; those that were not possible are neither passed nor failed.
fn table(passed: u64, failed: u64) -> String {
    let not_possible = NOT_POSSIBLE.lock();
    if not_possible.is_empty() {
        return format!("{passed} passed, {failed} failed");
    }
    let listed: String = not_possible.iter().map(|(name, why)| format!("    {name}: {why}\n")).collect();
    let count = not_possible.len();
    format!("not possible on an existing cluster:\n{listed}{passed} passed, {failed} failed, {count} not possible")
}

fn println(line: &str) {
    drop(std::io::Write::write_all(&mut std::io::stdout(), format!("{line}\n").as_bytes()));
}
