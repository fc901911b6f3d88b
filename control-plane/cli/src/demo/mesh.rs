//! The demo's mesh: `web` asks `api`, of which v1 and v2 run, and `api` asks `users`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use weft_api::ports;
use weft_api::traffic::traffic_client::TrafficClient;
use weft_api::traffic::{GetSplitRequest, Split};

use super::collector::Collector;
use super::counters::{Counted, Counters};
use super::forward;
use super::outside::Outside;
use crate::world::{ControlPlane, DEFAULT_NAMESPACE, NetnsRuntime, Pod, Process, Service, World, wait_until};

/// Where every application listens.
const APP_PORT: u16 = 8080;
/// Where every Service listens.
const SERVICE_PORT: u16 = 80;
/// Where visitors are and proxies export spans to: the bridge's own address.
const COLLECTOR: &str = "10.1.0.1:4317";
/// The pod that is taken away and brought back.
const SPARE: &str = "api-v2-b";
const APP_READY: Duration = Duration::from_secs(10);
/// How long a pod may take to finish what it has begun.
const DRAIN: Duration = Duration::from_secs(30);

/// The running mesh. It ends when dropped.
#[derive(Debug)]
pub(super) struct Mesh {
    world: World,
    control: ControlPlane,
    web: Member,
    users: Service,
    spare: Mutex<Option<Member>>,
    /// `users` and the other pods of `api`.
    others: Vec<Member>,
    counters: Counters,
    collector: Option<Collector>,
    /// Where visitors come from: outside every pod.
    bridge: NetnsRuntime,
}

/// A pod with its application.
#[derive(Debug)]
struct Member {
    pod: Pod,
    app: Process,
}

impl Mesh {
    /// Starts the control plane, then every pod with its application and its sidecar.
    pub(super) async fn start(outside: &Outside) -> Result<Self> {
        let world = World::new()?;
        let bridge = world.switch().runtime("bridge")?;
        let collector = collect(&bridge, outside).await?;
        let control = world.control_plane().start().await.context("the control plane did not start")?;
        let leaf = Member::start(&world, "users", "users", "v1", None).await?;
        let users = create_service(&world, "users", [&leaf])?;
        let api = |pod: &'static str, version: &'static str| Member::start(&world, pod, "api", version, Some(&users));
        let (v1, v2, spare) = (api("api-v1", "v1").await?, api("api-v2-a", "v2").await?, api(SPARE, "v2").await?);
        let service = create_service(&world, "api", [&v1, &v2, &spare])?;
        create_service(&world, "api-v1", [&v1])?;
        create_service(&world, "api-v2", [&v2, &spare])?;
        let web = Member::start(&world, "web", "web", "v1", Some(&service)).await?;
        create_service(&world, "web", [&web])?;

        let counters = Counters::default();
        for member in [&leaf, &v1, &v2, &spare, &web] {
            counters.add(&member.pod)?;
        }
        let others = vec![v1, v2, leaf];
        let mesh =
            Self { world, control, web, users, spare: Mutex::new(Some(spare)), others, counters, collector, bridge };
        mesh.open_to(outside)?;
        Ok(mesh)
    }

    /// Lets connections from outside through to the API and the web application.
    fn open_to(&self, outside: &Outside) -> Result<()> {
        let api = forward::listen(&outside.api_socket())?;
        let to_api = format!("127.0.0.1:{}", ports::CONTROL_API);
        let control = self.control.clone();
        tokio::spawn(async move { control.run(forward::unix_to_tcp(api, to_api)).await });
        let web = forward::listen(&outside.web_socket())?;
        self.bridge.spawn(forward::unix_to_tcp(web, self.web_address().to_string()));
        Ok(())
    }

    /// Where visitors find the web application: in its pod, past its sidecar.
    pub(super) fn web_address(&self) -> SocketAddr {
        self.web.pod.address(APP_PORT)
    }

    /// Where visitors come from.
    pub(super) fn bridge(&self) -> &NetnsRuntime {
        &self.bridge
    }

    /// The pods' names.
    pub(super) fn pods(&self) -> String {
        let names: Vec<&str> = self.members().map(|member| member.pod.name()).chain([SPARE]).collect();
        names.join(", ")
    }

    /// The identities that proxies see as peers: of whoever calls within the mesh.
    pub(super) fn callers(&self) -> BTreeSet<String> {
        let callers = self.members().filter(|member| member.pod.service_account() != "users");
        callers.map(|member| member.pod.identity()).collect()
    }

    /// All but the pod that comes and goes.
    fn members(&self) -> impl Iterator<Item = &Member> {
        [&self.web].into_iter().chain(&self.others)
    }

    /// Asks every proxy what it has counted.
    pub(super) async fn scrape(&self) -> Counted {
        self.counters.scrape().await
    }

    /// Spans that reached a collector: the demo's own says itself, for another the proxies do.
    pub(super) fn spans(&self, counted: &Counted) -> u64 {
        self.collector.as_ref().map_or(counted.spans_exported, Collector::spans)
    }

    /// Sets the weights of `api`; returns once every proxy that holds its routes has reported the new version.
    pub(super) async fn shift(&self, weights: &[(&str, i64)]) -> Result<Split> {
        let split = self.control.set_weights("api", weights).await?;
        self.control.rolled_out(&split, Duration::from_secs(10)).await?;
        Ok(split)
    }

    /// The split of `api` that is in force.
    pub(super) async fn split(&self) -> Result<Split> {
        let call = async {
            let mut client = TrafficClient::connect(format!("http://127.0.0.1:{}", ports::CONTROL_API)).await?;
            let request = GetSplitRequest { namespace: DEFAULT_NAMESPACE.to_owned(), service: "api".to_owned() };
            Ok(client.get_split(request).await?.into_inner())
        };
        self.control.run(call).await
    }

    /// Takes a pod away as Kubernetes does: its endpoint goes, and at the same time its processes get SIGTERM.
    pub(super) async fn take_away(&self) -> Result<&'static str> {
        let Member { pod, app } = self.spare.lock().take().context("the pod is away already")?;
        self.counters.scrape().await;
        pod.remove_endpoint()?;
        let sidecar = pod.sidecar()?;
        let (app, proxy) = tokio::join!(app.terminate(DRAIN), sidecar.terminate(DRAIN));
        for status in [app?, proxy?] {
            ensure!(status.success(), "a process of {SPARE} did not end well: {status}");
        }
        pod.delete_manifest()?;
        Ok(SPARE)
    }

    /// Brings the pod back: it becomes an endpoint when its application answers.
    pub(super) async fn bring_back(&self) -> Result<&'static str> {
        let spare = Member::start(&self.world, SPARE, "api", "v2", Some(&self.users)).await?;
        self.counters.add(&spare.pod)?;
        spare.pod.ready(true)?;
        *self.spare.lock() = Some(spare);
        Ok(SPARE)
    }

    /// The ends of all logs, for when something went wrong.
    pub(super) fn log_tails(&self) -> String {
        self.world.log_tails(15)
    }
}

impl Member {
    /// Starts a pod with its sidecar and its application, and waits until both are ready. `app` is the service account,
    /// too.
    async fn start(world: &World, pod: &str, app: &str, version: &str, downstream: Option<&Service>) -> Result<Self> {
        let sidecar = world.pod(pod).service_account(app).label("app", app).label("version", version);
        let sidecar = sidecar
            .sidecar_env("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{COLLECTOR}"))
            .sidecar_env("OTEL_SERVICE_NAME", app)
            .sidecar_env("WEFT_WORKLOAD", app);
        let pod = sidecar.start().await?;
        let mut command = Command::new(std::env::current_exe().context("cannot find the program itself")?);
        command.args(["demo-app", "--name", app, "--version", version, "--listen", &format!("[::]:{APP_PORT}")]);
        if let Some(service) = downstream {
            command.args(["--downstream", &format!("http://{}/", service.address(SERVICE_PORT))]);
        }
        let app = pod.start_app(&mut command)?;
        let listens = || pod.run(async { Ok(TcpStream::connect(("127.0.0.1", APP_PORT)).await?) });
        wait_until("the application to listen", APP_READY, listens)
            .await
            .with_context(|| app.log().unwrap_or_default())?;
        Ok(Self { pod, app })
    }
}

fn create_service<'a>(world: &World, name: &str, members: impl IntoIterator<Item = &'a Member>) -> Result<Service> {
    let pods = members.into_iter().map(|member| &member.pod);
    world.service(name).port(SERVICE_PORT, APP_PORT, "http").backends(pods).create()
}

/// Takes in spans on the bridge, for the demo's own collector or for the one outside.
async fn collect(bridge: &NetnsRuntime, outside: &Outside) -> Result<Option<Collector>> {
    let listener = bridge.spawn(TcpListener::bind(COLLECTOR)).await?.context("cannot listen for spans")?;
    if outside.collector.is_some() {
        bridge.spawn(forward::tcp_to_unix(listener, outside.collector_socket()));
        return Ok(None);
    }
    let collector = Collector::default();
    bridge.spawn(collector.clone().serve(listener));
    Ok(Some(collector))
}
