//! The worlds that all other tests stand on: pods reach each other, and nothing outlives its world.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;
use weft_cli::world::{self, BRIDGE, World};
use weft_tests::capture::{Capture, contains};
use weft_tests::{apps, client, trial};

const LIMIT: Duration = Duration::from_secs(60);
/// What this program does instead of tests, when another copy of it is what is tested.
const ROLE: &str = "WEFT_TEST_ROLE";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("pods reach each other over both address families", LIMIT, pods_reach_each_other),
        trial("nobody answers at a Service's address without a sidecar", LIMIT, services_are_virtual),
        trial("what passes between pods can be watched", LIMIT, watched),
        trial("a process goes with its pod", LIMIT, processes_go),
        trial("a failing process shows its log", LIMIT, failing_process),
        trial("the exit code comes out", LIMIT, exit_code),
        trial("SIGTERM reaches the program inside", LIMIT, sigterm),
        trial("SIGKILL leaves nothing behind", LIMIT, sigkill),
    ]
}

async fn pods_reach_each_other(world: World) -> Result<()> {
    let (web, api) = (world.pod("web").start().await?, world.pod("api").start().await?);
    apps::serve(&api, 8080, apps::echo).await?;
    for address in [api.address(8080), api.address_v6(8080)] {
        ensure!(client::send_and_end(&web, address, "hello").await? == b"hello", "no echo from {address}");
    }
    Ok(())
}

async fn services_are_virtual(world: World) -> Result<()> {
    let (web, api) = (world.pod("web").start().await?, world.pod("api").start().await?);
    apps::serve(&api, 8080, apps::echo).await?;
    let service = world.service("api").port(80, 8080, "tcp").backends([&api]).create()?;
    for address in [service.address(80), service.address_v6(80)] {
        ensure!(client::connect(&web, address).await.is_err(), "somebody answers at {address}");
    }
    Ok(())
}

async fn watched(world: World) -> Result<()> {
    let (web, api) = (world.pod("web").start().await?, world.pod("api").start().await?);
    apps::serve(&api, 8080, apps::echo).await?;
    let mut capture = Capture::start(&world)?;
    client::send_and_end(&web, api.address(8080), "a word that is not in any header").await?;
    let seen = capture.bytes(&api).await?;
    ensure!(contains(&seen, b"a word that is not in any header"), "the capture on {BRIDGE} misses packets");
    ensure!(!contains(&seen, b"a word that nobody said"), "the capture makes things up");
    Ok(())
}

async fn processes_go(world: World) -> Result<()> {
    let pod = world.pod("web").start().await?;
    let process = pod.start_app(Command::new("sleep").arg("1000"))?;
    ensure!(process.is_running() && process.resident_bytes()? > 0, "it does not run");
    let pid = Pid::from_raw(process.id());
    drop((pod, process));
    world::wait_until("the process to be gone", Duration::from_secs(10), async || {
        ensure!(kill(pid, None).is_err(), "{pid} is there");
        Ok(())
    })
    .await
}

async fn failing_process(world: World) -> Result<()> {
    let pod = world.pod("web").start().await?;
    let process = pod.start_app(Command::new("sh").args(["-c", "echo no luck >&2; exit 3"]))?;
    let error = process.succeeds(Duration::from_secs(10)).await.err().context("it succeeded")?.to_string();
    ensure!(error.contains("exit code 3") && error.contains("no luck"), "{error}");
    ensure!(world.log_tails(5).contains("no luck"), "{}", world.log_tails(5));
    Ok(())
}

async fn exit_code(_: World) -> Result<()> {
    let status = tokio::task::spawn_blocking(|| copy("exit").and_then(|mut child| Ok(child.wait()?))).await??;
    ensure!(status.code() == Some(7), "{status}");
    Ok(())
}

async fn sigterm(_: World) -> Result<()> {
    let mut child = sleeper().await?;
    kill(Pid::from_raw(child.id().try_into()?), Signal::SIGTERM)?;
    let status = timeout(LIMIT, tokio::task::spawn_blocking(move || child.wait())).await???;
    ensure!(status.code() == Some(128 + 15), "{status}");
    Ok(())
}

async fn sigkill(_: World) -> Result<()> {
    let mut child = sleeper().await?;
    let mut output = child.stdout.take().context("no output")?;
    let begin = Instant::now();
    child.kill()?;
    // Every process inside holds the writing end: it ends when the last of them has.
    let end = tokio::task::spawn_blocking(move || output.read_to_end(&mut Vec::new()));
    timeout(Duration::from_secs(20), end).await.context("something lives on")???;
    child.wait()?;
    ensure!(begin.elapsed() < Duration::from_secs(20), "it took {:?}", begin.elapsed());
    Ok(())
}

/// A copy of this program inside a world of its own, where it sleeps; returns once it does.
async fn sleeper() -> Result<Child> {
    let start = || {
        let mut child = copy("sleep")?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?);
        let mut line = String::new();
        output.read_line(&mut line)?;
        ensure!(line == "inside\n", "it says {line:?}");
        child.stdout = Some(output.into_inner());
        Ok(child)
    };
    timeout(LIMIT, tokio::task::spawn_blocking(start)).await??
}

fn copy(role: &str) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    Ok(world::outside(&mut command).env(ROLE, role).stdout(Stdio::piped()).spawn()?)
}

/// Plays the role that this program was started for, if it was started for one.
pub(crate) fn play_if_told() -> Option<ExitCode> {
    std::env::var(ROLE).ok().map(|role| play(&role))
}

fn play(role: &str) -> ExitCode {
    if let Err(error) = world::enter() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    match role {
        "exit" => ExitCode::from(7),
        _ => {
            let sleeping = Command::new("sleep").arg("1000").spawn();
            let _ = std::io::Write::write_all(&mut std::io::stdout(), b"inside\n");
            let _ = sleeping.and_then(|mut child| child.wait());
            ExitCode::SUCCESS
        }
    }
}
