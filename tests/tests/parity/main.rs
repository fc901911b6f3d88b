//! The same requests to Envoy and to Weft, by the same xDS resources: the same decision, or a difference that has a
//! reason.
//!
//! Envoy's program is named by `ENVOY`; `make parity` installs it. What is compared is what a client and an application
//! can tell: the status, which backend was asked how often, and how method, path, host and headers were changed on
//! the way, there and back. [`cases`] says for each request what Envoy decides and, where Weft decides otherwise, what and
//! why. Both are asserted, so that neither can change unnoticed.

mod case;
mod cases;
mod decision;
mod envoy;
mod scene;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result};
use weft_cli::world::{self, World};

use self::case::Case;
use self::scene::Scene;
use self::table::Table;

/// Lines of each process's log that are shown when the comparison itself fails.
const LOG_LINES: usize = 40;

fn main() -> ExitCode {
    if let Err(error) = world::enter() {
        eprintln!("The comparison needs network namespaces: {error}");
        return ExitCode::FAILURE;
    }
    match compare() {
        Ok(table) => table.conclude(),
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<Table> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let world = World::new()?;
    let run = async {
        let scene = Scene::set(&world).await?;
        let mut table = Table::new(asked_for());
        table.head();
        while let Some(case) = table.next() {
            let (envoy, weft) =
                tokio::join!(decision::of(&scene, &scene.envoy, &case), decision::of(&scene, &scene.weft, &case));
            table.enter(&case, envoy, weft);
        }
        Ok(table)
    };
    let outcome: Result<Table> = runtime.block_on(run);
    outcome.with_context(|| world.log_tails(LOG_LINES))
}

/// The cases whose name has one of the command line's words in it; without words all.
fn asked_for() -> Vec<Case> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |case: &Case| words.is_empty() || words.iter().any(|word| case.name.contains(word));
    cases::all().into_iter().filter(wanted).collect()
}
