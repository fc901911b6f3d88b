//! Guarded shifts: forward while the new version does well, back as soon as it does not, and never without knowing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use weft_api::traffic::shift::State;
use weft_api::traffic::traffic_client::TrafficClient;
use weft_api::traffic::{ListAuditRequest, Shift, ShiftRequest};
use weft_cli::world::{World, wait_until};
use weft_tests::apps::Act;
use weft_tests::cast::{Cast, HTTP, HTTP_TARGET, get};
use weft_tests::{client, trial};

const LIMIT: Duration = Duration::from_secs(120);
const SOON: Duration = Duration::from_secs(30);
const PODS: [&str; 2] = ["api-v1", "api-v2"];
/// Where the control plane's API is, in its own pod.
const API: &str = "http://127.0.0.1:15080";
/// Between two requests of the visitors.
const PAUSE: Duration = Duration::from_millis(4);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("shift: to the end, when all is well", LIMIT, promoted),
        trial("shift: back, when the new version fails", LIMIT, rolled_back),
        trial("shift: back, when the new version is slow", LIMIT, too_slow),
        trial("shift: the control plane is killed in its middle", LIMIT, survives),
        trial("shift: waits without traffic; pauses, resumes and is promoted by hand", LIMIT, by_hand),
    ]
}

/// Visitors that GET `/` of the Service, until they are dropped.
struct Visitors {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<()>,
}

impl Visitors {
    fn come(cast: &Cast) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, web, at) = (Arc::clone(&stop), cast.web.clone(), cast.at());
        let worker = cast.web.spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                // What comes of it is what the proxies report.
                if let Ok(request) = get("/") {
                    let _ = client::ask(&web, at, request).await;
                }
                sleep(PAUSE).await;
            }
        });
        Self { stop, worker }
    }

    async fn go(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        Ok(self.worker.await?)
    }
}

async fn start(world: &World) -> Result<Cast> {
    let cast = Cast::start(world, &PODS, "").await?;
    // The Service itself leads to the old version alone.
    let service = world.service("api").port(HTTP, HTTP_TARGET, "http").backends([cast.pod(0)?]);
    service.create_as(&cast.service)?;
    wait_until("the old version alone to answer", SOON, async || {
        let sample = cast.sample(10).await?;
        ensure!(sample.of(cast.pod(1)?) == 0 && sample.status(200) == 10, "{sample:?}");
        Ok(())
    })
    .await?;
    Ok(cast)
}

async fn shift(cast: &Cast, steps: &str, interval: &str, abort_if: &str) -> Result<()> {
    let what = ["traffic", "shift", "api", "--to", "v2", "--detach"];
    let how = ["--steps", steps, "--interval", interval, "--abort-if", abort_if];
    cast.weft(&[&what[..], &how[..]].concat()).await.map(drop)
}

/// The latest shift of the Service.
async fn state(cast: &Cast) -> Result<Shift> {
    let call = async {
        let request = ShiftRequest { namespace: "default".to_owned(), service: "api".to_owned() };
        Ok(TrafficClient::connect(API).await?.get_shift(request).await?.into_inner())
    };
    cast.control.run(call).await
}

/// What was done, the latest first: each action and who did it.
async fn audit(cast: &Cast) -> Result<Vec<(String, String)>> {
    let call = async {
        let request = ListAuditRequest { namespace: "default".to_owned(), service: "api".to_owned(), limit: 0 };
        Ok(TrafficClient::connect(API).await?.list_audit(request).await?.into_inner().entries)
    };
    Ok(cast.control.run(call).await?.into_iter().map(|entry| (entry.action, entry.who)).collect())
}

async fn reaches(cast: &Cast, wanted: State) -> Result<Shift> {
    wait_until(wanted.as_str_name(), SOON, async || {
        let shift = state(cast).await?;
        ensure!(shift.state() == wanted, "{shift:#?}");
        Ok(shift)
    })
    .await
}

/// Waits until about so many percent of the requests go to the new version.
async fn share(cast: &Cast, percent: usize) -> Result<()> {
    wait_until("the share", SOON, async || {
        let sample = cast.sample(50).await?;
        let seen = sample.of(cast.pod(1)?) * 100 / sample.pods.values().sum::<usize>().max(1);
        let near = match percent {
            0 | 100 => seen == percent,
            _ => seen.abs_diff(percent) <= 25 && seen > 0 && seen < 100,
        };
        ensure!(near, "{seen} %, not {percent} %: {sample:?}");
        Ok(())
    })
    .await
}

async fn promoted(world: World) -> Result<()> {
    let cast = start(&world).await?;
    let visitors = Visitors::come(&cast);
    shift(&cast, "20,50,100", "1s", "error-rate>1%,p99>5s").await?;
    reaches(&cast, State::Promoted).await?;
    visitors.go().await?;
    share(&cast, 100).await?;
    let audit = audit(&cast).await?;
    let by = |action: &str| audit.iter().find(|(done, _)| done == action).map(|(_, who)| who.as_str());
    ensure!(by("shift-start").is_some_and(|who| who.starts_with("loopback")), "{audit:?}");
    ensure!(by("shift-step") == Some("weft-control") && by("shift-end") == Some("weft-control"), "{audit:?}");
    Ok(())
}

async fn rolled_back(world: World) -> Result<()> {
    let cast = start(&world).await?;
    cast.stage.flap(cast.pod(1)?, [Act::status(500), Act::default(), Act::default()]);
    let visitors = Visitors::come(&cast);
    shift(&cast, "30,60,100", "2s", "error-rate>5%").await?;
    let shift = reaches(&cast, State::RolledBack).await?;
    visitors.go().await?;
    ensure!(shift.reason.contains("error"), "{shift:#?}");
    share(&cast, 0).await?;
    let audit = audit(&cast).await?;
    ensure!(audit.iter().any(|(action, _)| action == "shift-rollback"), "{audit:?}");
    Ok(())
}

async fn too_slow(world: World) -> Result<()> {
    let cast = start(&world).await?;
    cast.stage.always(cast.pod(1)?, Act::default().after(Duration::from_millis(400)));
    let visitors = Visitors::come(&cast);
    shift(&cast, "50,100", "1s", "error-rate>5%,p99>200ms").await?;
    let shift = reaches(&cast, State::RolledBack).await?;
    visitors.go().await?;
    ensure!(shift.reason.contains("p99"), "{shift:#?}");
    share(&cast, 0).await
}

async fn survives(world: World) -> Result<()> {
    let cast = start(&world).await?;
    let visitors = Visitors::come(&cast);
    shift(&cast, "40,100", "5s", "error-rate>1%").await?;
    wait_until("the first step", SOON, async || {
        let shift = state(&cast).await?;
        ensure!(shift.step_seconds > 0.2, "{shift:#?}");
        Ok(())
    })
    .await?;
    cast.control.kill().await?;
    // The proxies go on as they are, without it.
    share(&cast, 40).await?;
    cast.control.restart().await?;
    let shift = state(&cast).await?;
    ensure!(shift.step == 1 && shift.share == 40, "it is not where it was: {shift:#?}");
    let shift = reaches(&cast, State::Promoted).await?;
    ensure!(shift.share == 100, "{shift:#?}");
    visitors.go().await?;
    share(&cast, 100).await
}

async fn by_hand(world: World) -> Result<()> {
    let cast = start(&world).await?;
    shift(&cast, "30,60,100", "500ms", "error-rate>1%").await?;
    // Nobody comes: there is nothing to judge by.
    let shift = reaches(&cast, State::Waiting).await?;
    ensure!(shift.step == 1 && !shift.reason.is_empty(), "{shift:#?}");
    cast.weft(&["traffic", "shift", "pause", "api"]).await?;
    reaches(&cast, State::Paused).await?;
    let visitors = Visitors::come(&cast);
    share(&cast, 30).await?;
    let shift = state(&cast).await?;
    ensure!(shift.step == 1, "it went on while it was paused: {shift:#?}");
    cast.weft(&["traffic", "shift", "resume", "api"]).await?;
    wait_until("the second step", SOON, async || {
        let shift = state(&cast).await?;
        ensure!(shift.step >= 2, "{shift:#?}");
        Ok(())
    })
    .await?;
    cast.weft(&["traffic", "shift", "promote", "api"]).await?;
    reaches(&cast, State::Promoted).await?;
    visitors.go().await?;
    share(&cast, 100).await?;
    let none = cast.weft(&["traffic", "shift", "abort", "api"]).await;
    ensure!(none.is_err(), "a shift that has ended is aborted");
    let error = none.err().context("no error")?.to_string();
    ensure!(error.contains("ended") || error.contains("no shift"), "{error}");
    Ok(())
}
