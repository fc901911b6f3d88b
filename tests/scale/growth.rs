//! A real `weft-proxy` whose application dials ten Services, while the mesh grows from these ten to thousands.

use std::fmt::Write as _;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_cli::world::{self, Pod, Service, World, wait_until};
use weft_tests::{apps, client};

/// The Services that are dialled.
const DIALLED: u32 = 10;
/// Manifests in a file.
const FILE: u32 = 500;
/// The ports of all Services and pods.
const PORT: u16 = 80;
const TARGET: u16 = 8080;
/// How often each Service is dialled before the proxy's memory is looked at.
const ROUNDS: u32 = 20;
/// How long the control plane may take for all Services, and the whole thing.
const READ: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(150);

/// Runs [`inside`] in a process of its own, which enters network namespaces; by how much the proxy grew, KiB.
///
/// # Errors
/// What the process says.
pub(crate) fn outside(in_the_end: u32) -> Result<i64> {
    eprintln!("a proxy that dials {DIALLED} Services, while their number grows to {in_the_end}");
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.arg("--growth").arg(format!("--grow-to={in_the_end}")).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the trial with a real proxy failed");
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().with_context(|| format!("{said:?} is no number of KiB"))
}

/// Writes to `out` by how much the proxy grew, in KiB: the one that was there all the time, or one that came last,
/// whichever has more.
///
/// # Errors
/// Where there are no namespaces to be had, or something does not work.
pub(crate) fn inside(out: &mut impl Write, in_the_end: u32) -> Result<()> {
    world::enter()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let world = World::new()?;
    let measured = runtime.block_on(async { tokio::time::timeout(LONGEST, measure(&world, in_the_end)).await });
    runtime.shutdown_background();
    let grown = measured.context("still at it")?.with_context(|| world.log_tails(10))?;
    Ok(writeln!(out, "{grown}")?)
}

async fn measure(world: &World, in_the_end: u32) -> Result<i64> {
    let _control = world.control_plane().start().await?;
    let api = world.pod("api").start().await?;
    apps::h1(&api, TARGET).await?;
    let service = |number| world.service(&format!("s{number}")).port(PORT, TARGET, "http").backends([&api]).create();
    let services = (0..DIALLED).map(service).collect::<Result<Vec<_>>>()?;
    let web = world.pod("web").sidecar().start().await?;
    let before = after_dialling(&web, &services).await?;
    let last = grow(world, in_the_end, api.address(TARGET))?;
    // Who asks for it must not be whose memory is looked at.
    let probe = world.pod("probe").sidecar().start().await?;
    wait_until("the last Service", READ, async || client::get(&probe, last, "/").await).await?;
    let same = after_dialling(&web, &services).await?;
    let young = world.pod("young").sidecar().start().await?;
    let young = after_dialling(&young, &services).await?;
    eprintln!("resident: {before} KiB with {DIALLED} Services; {same} KiB, another {young} KiB with {in_the_end}");
    Ok(same.max(young) - before)
}

/// A proxy's resident memory, KiB, once its pod has asked each Service a few times.
async fn after_dialling(pod: &Pod, services: &[Service]) -> Result<i64> {
    for _ in 0..ROUNDS {
        for service in services {
            let (status, _) = client::get(pod, service.address(PORT), "/").await?;
            ensure!(status.is_success(), "{} answers {status}", service.name());
        }
    }
    Ok(i64::try_from(pod.sidecar()?.process().resident_bytes()? / 1024)?)
}

/// Adds Services until there are enough; the address of the last one, which leads to the pod. The others' endpoints are
/// pods that don't exist.
fn grow(world: &World, in_the_end: u32, pod: SocketAddr) -> Result<SocketAddr> {
    let address = |number: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 16, 0)) + number);
    let all: Vec<u32> = (DIALLED..in_the_end).collect();
    for (file, numbers) in all.chunks(FILE as usize).enumerate() {
        let mut text = String::new();
        for number in numbers {
            let is_last = *number == in_the_end - 1;
            let endpoint = if is_last { pod.ip() } else { Ipv4Addr::new(10, 200, 0, 0).into() };
            let ip = address(*number);
            let _ = write!(
                text,
                "---\napiVersion: v1\nkind: Service\nmetadata: {{name: more-{number}, namespace: more}}\nspec: \
                 {{clusterIP: {ip}, ports: [{{name: http, port: {PORT}, appProtocol: http}}]}}\n---\n\
                 apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: more-{number}-1, namespace: \
                 more, labels: {{kubernetes.io/service-name: more-{number}}}}}\naddressType: IPv4\n\
                 ports: [{{name: http, port: {TARGET}}}]\nendpoints: [{{addresses: [{endpoint}]}}]\n"
            );
        }
        world.apply(&format!("more-{file:03}.yaml"), &text)?;
    }
    Ok(SocketAddr::from((address(in_the_end - 1), PORT)))
}
