//! `web` calls the Service `api`; what `api`'s pods answer is up to the trial.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::future::try_join_all;
use http::{Method, Request, header};
use tokio::process::Command;
use weft_cli::world::{ControlPlane, Pod, Service, World, proxy_program, wait_until};

use crate::apps::{Act, SCENE, Seen, Stage};
use crate::client::{self, Answer, Body};

/// The Services' port that is declared HTTP, and leads to [`HTTP_TARGET`].
pub const HTTP: u16 = 80;
/// The pods' port behind [`HTTP`].
pub const HTTP_TARGET: u16 = 8080;
/// How long a change may take until it is in force, and a metric until it tells.
pub const SOON: Duration = Duration::from_secs(15);
/// How often sidecars report their load.
const LOAD_REPORTS: &str = "250ms";

/// A mesh for trials of what becomes of requests.
#[derive(Debug)]
pub struct Cast {
    /// All that happens in it.
    pub world: World,
    /// The control plane.
    pub control: ControlPlane,
    /// The pod that calls.
    pub web: Pod,
    /// The pods that are called.
    pub pods: Vec<Pod>,
    /// The Service `api`, in front of all of them.
    pub service: Service,
    /// The Services of their own names, each in front of one pod.
    pub own: Vec<Service>,
    /// What they answer.
    pub stage: Stage,
}

impl Cast {
    /// Starts the control plane, pods of these names behind the Service `api` and, for each, a Service of its own name;
    /// then, once the manifests are read, `web`.
    ///
    /// # Errors
    /// Where one of them does not start, or the manifests have a fault.
    pub async fn start(world: &World, pods: &[&str], manifests: &str) -> Result<Self> {
        world.apply("cast.yaml", manifests)?;
        let control = world.control_plane().env("WEFT_LOAD_REPORT_INTERVAL", LOAD_REPORTS).start().await?;
        let stage = Stage::default();
        let starting =
            pods.iter().map(|name| world.pod(name).service_account("api").label("app", "api").sidecar().start());
        let pods = try_join_all(starting).await?;
        let mut own = Vec::new();
        for pod in &pods {
            stage.open(pod, HTTP_TARGET).await?;
            own.push(world.service(pod.name()).port(HTTP, HTTP_TARGET, "http").backends([pod]).create()?);
        }
        let service = world.service("api").port(HTTP, HTTP_TARGET, "http").backends(&pods).create()?;
        let web = world.pod("web").sidecar_env("WEFT_ACCESS_LOG", "all").start().await?;
        let cast = Self { world: world.clone(), control, web, pods, service, own, stage };
        no_faults(&cast.control)?;
        Ok(cast)
    }

    /// A pod behind the Service.
    ///
    /// # Errors
    /// Where there are fewer.
    pub fn pod(&self, number: usize) -> Result<&Pod> {
        self.pods.get(number).with_context(|| format!("the cast has no pod {number}"))
    }

    /// The Service of a pod's own.
    ///
    /// # Errors
    /// Where there are fewer.
    pub fn own(&self, number: usize) -> Result<&Service> {
        self.own.get(number).with_context(|| format!("the cast has no pod {number}"))
    }

    /// Where the Service's HTTP port is.
    pub fn at(&self) -> SocketAddr {
        self.service.address(HTTP)
    }

    /// `web` asks the Service.
    ///
    /// # Errors
    /// Where no answer begins, or none ends.
    pub async fn ask(&self, request: Request<Body>) -> Result<Answer> {
        client::ask(&self.web, self.at(), request).await
    }

    /// `web` GETs a path of the Service.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.ask(get(path)?).await
    }

    /// One request that is answered by a script of its own: the answer, and the requests that came of it.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub async fn play(
        &self,
        request: Request<Body>,
        script: impl IntoIterator<Item = Act>,
    ) -> Result<(Answer, Vec<Seen>)> {
        self.play_at(&self.service, request, script).await
    }

    /// The same, of another Service.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub async fn play_at(
        &self,
        service: &Service,
        mut request: Request<Body>,
        script: impl IntoIterator<Item = Act>,
    ) -> Result<(Answer, Vec<Seen>)> {
        let scene = format!("{:016x}", rand::random::<u64>());
        self.stage.play(&scene, script);
        request.headers_mut().insert(SCENE, scene.parse()?);
        let answer = client::ask(&self.web, service.address(HTTP), request).await?;
        Ok((answer, self.stage.scene(&scene)))
    }

    /// Sends GETs of `/`, one after the other, and counts them by the pod that had them; tells the statuses, too.
    ///
    /// # Errors
    /// As for [`ask`](Self::ask).
    pub async fn sample(&self, requests: usize) -> Result<Sample> {
        self.stage.take();
        let mut statuses = BTreeMap::new();
        for _ in 0..requests {
            *statuses.entry(self.get("/").await?.status).or_default() += 1;
        }
        Ok(Sample { pods: self.stage.take_counts(), statuses })
    }

    /// The sum of a metric of `web`'s sidecar.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        Ok(self.web.sidecar()?.metrics().await?.sum(name, labels))
    }

    /// Waits until a metric of `web`'s sidecar is at least that.
    ///
    /// # Errors
    /// Where that takes longer than [`SOON`]; with its value.
    pub async fn metric_reaches(&self, name: &str, labels: &[(&str, &str)], least: f64) -> Result<()> {
        wait_until("a metric", SOON, async || {
            let value = self.metric(name, labels).await?;
            ensure!(value >= least, "{name}{labels:?} is {value}, not {least}");
            Ok(())
        })
        .await
    }

    /// Runs the `weft` command beside the control plane; what it printed.
    ///
    /// # Errors
    /// With what it said, where it fails.
    pub async fn weft(&self, arguments: &[&str]) -> Result<String> {
        let command = self.weft_command(arguments)?;
        let output = self.control.run(async move { Ok({ command }.output().await?) }).await?;
        let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            bail!("`weft {}` ended with {}: {out}{said}", arguments.join(" "), output.status);
        }
        Ok(out.into_owned())
    }

    fn weft_command(&self, arguments: &[&str]) -> Result<Command> {
        let program: PathBuf = proxy_program()?.with_file_name("weft");
        let mut command = Command::new(program);
        command.args(arguments).kill_on_drop(true);
        Ok(command)
    }
}

/// Asserts that the manifests have no fault but for backends that do not exist: these may come later, or never.
///
/// # Errors
/// With the faults.
pub fn no_faults(control: &ControlPlane) -> Result<()> {
    let log = control.process()?.log()?;
    let excused = |line: &str| line.contains("there is no Service") || line.contains("has no port");
    let faults: Vec<&str> = log.lines().filter(|line| line.contains("severity=Error") && !excused(line)).collect();
    ensure!(faults.is_empty(), "the manifests have faults: {faults:#?}");
    Ok(())
}

/// What came of some requests.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// How many requests each pod had.
    pub pods: BTreeMap<String, usize>,
    /// How many answers had each status.
    pub statuses: BTreeMap<u16, usize>,
}

impl Sample {
    /// How many requests the pod had.
    pub fn of(&self, pod: &Pod) -> usize {
        self.pods.get(pod.name()).copied().unwrap_or_default()
    }

    /// How many answers had this status.
    pub fn status(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or_default()
    }
}

/// A GET over HTTP/1.1.
///
/// # Errors
/// Where the path is none.
pub fn get(path: &str) -> Result<Request<Body>> {
    request(Method::GET, path, "")
}

/// A request over HTTP/1.1.
///
/// # Errors
/// Where the path is none.
pub fn request(method: Method, path: &str, body: impl Into<bytes::Bytes>) -> Result<Request<Body>> {
    let body = body.into();
    let body = if body.is_empty() { client::empty() } else { client::full(body) };
    Ok(Request::builder().method(method).uri(path).header(header::HOST, "api").body(body)?)
}

/// A gRPC call with one empty message.
///
/// # Errors
/// Where the path is none.
pub fn call(path: &str) -> Result<Request<Body>> {
    let request = Request::post(format!("http://api{path}")).version(http::Version::HTTP_2);
    let request = request.header("content-type", "application/grpc").header("te", "trailers");
    Ok(request.body(client::full(vec![0; 5]))?)
}

/// The same request with one more header.
///
/// # Errors
/// Where the value is none.
pub fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Result<Request<Body>> {
    request.headers_mut().insert(name, value.parse()?);
    Ok(request)
}
