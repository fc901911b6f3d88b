//! Nothing is lost: outages, rotations, removals and bad manifests, each under load.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{broadcast, mpsc};
use weft_api::ports;
use weft_cli::world::{EndpointState, Pod, World, wait_until};
use weft_tests::apps;
use weft_tests::duo::{Duo, HTTP, HTTP_TARGET, TCP, TCP_TARGET};
use weft_tests::load::Load;
use weft_tests::{client, trial};

const LIMIT: Duration = Duration::from_secs(150);
const SOON: Duration = Duration::from_secs(20);
const WORKERS: usize = 4;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("the control plane is killed and restarted", LIMIT, control_plane_killed),
        trial("the control plane is told to end", LIMIT, control_plane_terminated),
        trial("weights survive kill -9", LIMIT, weights_survive),
        trial("certificates of 10 seconds rotate", LIMIT, rotation),
        trial("a pod goes and comes back", LIMIT, pod_goes),
        trial("SIGTERM lets requests finish", LIMIT, sigterm_lets_finish),
        trial("after SIGTERM the application may ask others, to answer", LIMIT, asks_others_to_answer),
        trial("a bad manifest changes nothing else", LIMIT, bad_manifest),
        trial("a request is retried only if it reached nobody", LIMIT, never_twice),
    ]
}

async fn control_plane_killed(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    let mut load = Load::start(&duo.web, duo.at(HTTP), WORKERS);
    load.more(300).await?;
    duo.control.kill().await?;
    load.more(1000).await?;
    duo.control.restart().await?;
    load.more(300).await?;
    // And it is heard again: a new endpoint gets its share.
    let second = world.pod("api-2").service_account("api").sidecar().start().await?;
    apps::h1(&second, HTTP_TARGET).await?;
    world.service("api").port(HTTP, HTTP_TARGET, "http").backends([&duo.api, &second]).create_as(&duo.service)?;
    answered_by(&mut load, "api-2").await?;
    load.stop().await?.nothing_lost()
}

async fn control_plane_terminated(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    let mut load = Load::start(&duo.web, duo.at(HTTP), WORKERS);
    load.more(100).await?;
    let status = duo.control.terminate(SOON).await?;
    ensure!(status.success(), "it ended with {status}");
    load.more(500).await?;
    load.stop().await?.nothing_lost()
}

async fn weights_survive(world: World) -> Result<()> {
    let control = world.control_plane().start().await?;
    let pod = world.pod("api").start().await?;
    for name in ["api", "api-v1", "api-v2"] {
        world.service(name).port(80, 8080, "http").backends([&pod]).create()?;
    }
    wait_until("the Services to be known", SOON, || control.set_weights("api", &[("api-v1", 1), ("api-v2", 1)]))
        .await?;
    for weight in 1..=5 {
        let written = control.set_weights("api", &[("api-v1", weight), ("api-v2", 100 - weight)]).await?;
        control.kill().await?;
        control.restart().await?;
        let read = control.split("api").await?;
        ensure!(read.version == written.version && read.backends == written.backends, "{read:?} is not {written:?}");
    }
    Ok(())
}

async fn rotation(world: World) -> Result<()> {
    let control = world.control_plane().certificate_lifetime(Duration::from_secs(10)).start().await?;
    let duo = Duo::start_with(&world, control).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    apps::serve(&duo.api, TCP_TARGET, apps::echo).await?;
    let mut long_lived = client::connect(&duo.web, duo.at(TCP)).await?;
    let mut load = Load::start(&duo.web, duo.at(HTTP), WORKERS);
    let mut expiries = (expiry(&duo.web).await?, expiry(&duo.api).await?);
    for rotation in 1..=4 {
        let renewed = wait_until("new certificates on both sides", SOON, async || {
            let now = (expiry(&duo.web).await?, expiry(&duo.api).await?);
            ensure!(now.0 > expiries.0 && now.1 > expiries.1, "they expire at {now:?}");
            Ok(now)
        });
        expiries = renewed.await.with_context(|| format!("rotation {rotation}"))?;
        load.more(100).await?;
        long_lived.write_all(b"!").await?;
        ensure!(long_lived.read_u8().await? == b'!', "the long-lived connection broke in rotation {rotation}");
    }
    load.stop().await?.nothing_lost()
}

/// When the pod's certificate expires, in seconds since the epoch.
async fn expiry(pod: &Pod) -> Result<f64> {
    let seconds = pod.sidecar()?.metrics().await?.sum("weft_certificate_expiry_seconds", &[]);
    ensure!(seconds > 0.0, "{} has no certificate", pod.name());
    Ok(seconds)
}

async fn pod_goes(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let second = world.pod("api-2").service_account("api").sidecar().start().await?;
    for pod in [&duo.api, &second] {
        apps::h1(pod, HTTP_TARGET).await?;
    }
    world.service("api").port(HTTP, HTTP_TARGET, "http").backends([&duo.api, &second]).create_as(&duo.service)?;
    let mut load = Load::start(&duo.web, duo.at(HTTP), WORKERS);
    answered_by(&mut load, "api-2").await?;
    for going in [&second, &duo.api] {
        // As Kubernetes does it: both at once, in no order.
        going.set_endpoint(EndpointState::Terminating)?;
        let status = going.sidecar()?.terminate(Duration::from_secs(40)).await?;
        ensure!(status.success(), "the sidecar ended with {status}");
        going.remove_endpoint()?;
        let seen = load.more(200).await?;
        ensure!(seen.failures.is_empty(), "{:?}", seen.failures.first());
        going.start_sidecar().await?;
        going.ready(true)?;
        answered_by(&mut load, going.name()).await?;
    }
    load.stop().await?.nothing_lost()
}

/// Waits until the pod of that name answers.
async fn answered_by(load: &mut Load, name: &str) -> Result<()> {
    wait_until("the pod's first answer", SOON, async || {
        let seen = load.more(20).await?;
        ensure!(seen.answers.contains_key(name), "{seen:?}");
        Ok(())
    })
    .await
    .with_context(|| format!("{name} is never asked"))
}

/// An application that tells of each request that arrives, and answers it when it is released.
async fn answers_when_released(pod: &Pod) -> Result<(mpsc::UnboundedReceiver<()>, broadcast::Sender<()>)> {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let (release, _) = broadcast::channel::<()>(1);
    let gate = release.clone();
    apps::serve(pod, HTTP_TARGET, move |mut stream| {
        let (arrived, mut released) = (arrived.clone(), gate.subscribe());
        async move {
            client::read_until(&mut stream, "\r\n\r\n").await?;
            arrived.send(())?;
            released.recv().await?;
            Ok(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await?)
        }
    })
    .await?;
    Ok((arrivals, release))
}

async fn sigterm_lets_finish(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let (mut arrivals, release) = answers_when_released(&duo.api).await?;
    let mut requests = Vec::new();
    for _ in 0..3 {
        let (web, address) = (duo.web.clone(), duo.at(HTTP));
        requests.push(tokio::spawn(async move { client::get(&web, address, "/slow").await }));
        arrivals.recv().await.context("the application was not reached")?;
    }
    let (server, client) = (duo.api.sidecar()?, duo.web.sidecar()?);
    let ending = tokio::spawn({
        let (server, client) = (server.clone(), client.clone());
        async move { tokio::join!(server.terminate(Duration::from_secs(40)), client.terminate(Duration::from_secs(40))) }
    });
    // Both have been told, and wait: their logs may say so, but what counts is that nothing breaks.
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure!(server.process().is_running() && client.process().is_running(), "a proxy did not wait for its requests");
    release.send(())?;
    for request in requests {
        let (status, body) = request.await??;
        ensure!(status == StatusCode::OK && body == "done", "{status} {body}");
    }
    let (server, client) = ending.await?;
    ensure!(server?.success() && client?.success(), "a proxy did not end well");
    Ok(())
}

/// It does so over a connection that it has kept, which must not be closed under its hands.
async fn asks_others_to_answer(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let users = world.pod("users").sidecar().start().await?;
    apps::h1(&users, HTTP_TARGET).await?;
    let users = world.service("users").port(HTTP, HTTP_TARGET, "http").backends([&users]).create()?;
    let outsider = world.pod("outsider").start().await?;
    let (mut arrivals, release) = answers_when_released(&duo.api).await?;
    let mut kept = wait_until("the Service to be known", SOON, async || {
        let mut kept = client::http1(&duo.api, users.address(HTTP)).await?;
        let first = client::whole(kept.send_request(client::get_request("/first")?)).await?;
        ensure!(first.status() == StatusCode::OK, "{first:?}");
        Ok(kept)
    })
    .await?;
    let (web, address) = (duo.web.clone(), duo.at(HTTP));
    let request = tokio::spawn(async move { client::get(&web, address, "/slow").await });
    arrivals.recv().await.context("the application was not reached")?;

    let sidecar = duo.api.sidecar()?;
    let ending = tokio::spawn(async move { sidecar.terminate(Duration::from_secs(40)).await });
    wait_until("the drain", SOON, async || {
        let door = client::connect(&outsider, duo.api.address(ports::MESH)).await;
        ensure!(door.is_err(), "the mesh's door is still open");
        Ok(())
    })
    .await?;
    let second = client::whole(kept.send_request(client::get_request("/second")?)).await?;
    ensure!(second.status() == StatusCode::OK, "{second:?}");
    release.send(())?;
    let (status, body) = request.await??;
    ensure!(status == StatusCode::OK && body == "done", "{status} {body}");
    drop(kept);
    ensure!(ending.await??.success(), "the proxy did not end well");
    Ok(())
}

const BAD: [(&str, &str); 3] = [
    ("garbage.yaml", "kind: [Service\n\tmetadata: {"),
    (
        "bad-route.yaml",
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: bad}\nspec:\n  \
         parentRefs: [{group: '', kind: Service, name: api}]\n  \
         rules: [{matches: [{path: {type: RegularExpression, value: '('}}], backendRefs: [{name: api, port: 80}]}]\n",
    ),
    ("bad-service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: bad}\nspec: {ports: [{port: 99999999}]}\n"),
];

async fn bad_manifest(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    apps::h1(&duo.api, HTTP_TARGET).await?;
    let mut load = Load::start(&duo.web, duo.at(HTTP), WORKERS);
    load.more(100).await?;
    for (file, yaml) in BAD {
        world.apply(file, yaml)?;
    }
    wait_until("the faults to be counted", SOON, async || {
        let faults = duo.control.metrics().await?.sum("weft_control_registry_faults", &[]);
        ensure!(faults >= BAD.len() as f64, "there are {faults} faults");
        Ok(())
    })
    .await?;
    load.more(200).await?;
    // What is good still comes through.
    let second = world.pod("api-2").service_account("api").sidecar().start().await?;
    apps::h1(&second, HTTP_TARGET).await?;
    world.service("api").port(HTTP, HTTP_TARGET, "http").backends([&duo.api, &second]).create_as(&duo.service)?;
    answered_by(&mut load, "api-2").await?;
    for (file, _) in BAD {
        world.unapply(file)?;
    }
    wait_until("the faults to be gone", SOON, async || {
        let faults = duo.control.metrics().await?.sum("weft_control_registry_faults", &[]);
        ensure!(faults == 0.0, "there are {faults} faults");
        Ok(())
    })
    .await?;
    load.stop().await?.nothing_lost()
}

async fn never_twice(world: World) -> Result<()> {
    let duo = Duo::start(&world).await?;
    let (arrived, mut arrivals) = mpsc::unbounded_channel();
    apps::serve(&duo.api, HTTP_TARGET, move |stream| {
        let _ = arrived.send(());
        apps::resetting(stream)
    })
    .await?;
    let (status, _) = client::get(&duo.web, duo.at(HTTP), "/").await?;
    ensure!(status.is_server_error(), "{status}");
    arrivals.recv().await.context("the application was not reached")?;
    ensure!(arrivals.try_recv().is_err(), "a request that had reached the application was sent again");
    Ok(())
}
