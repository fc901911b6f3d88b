//! One world for all cases: the pods, the Services, Weft's sidecar and an Envoy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use http::StatusCode;
use weft_cli::world::{ControlPlane, Pod, Process, Service, World, wait_until};
use weft_tests::apps::Stage;
use weft_tests::cast::no_faults;
use weft_tests::client;

use crate::envoy;

const MANIFESTS: &str = include_str!("manifests.yaml");
const READY: Duration = Duration::from_secs(30);
/// The port of every Service, and the pods' port behind it.
const PORT: u16 = 80;
const TARGET: u16 = 8080;
/// Services that have routes or policies of their own in [`MANIFESTS`], and no pods.
const ROUTED: &[&str] = &[
    "path",
    "method",
    "header",
    "query",
    "precedence",
    "weight",
    "redirect",
    "rewrite",
    "edit",
    "time",
    "retry-codes",
    "grpc",
    "fault",
    "mirrored",
    "session",
];
/// Services that lead to all of `trio`'s pods.
const TRIOS: &[&str] = &[
    "trio",
    "retry-5xx",
    "retry-gateway",
    "retry-4xx",
    "retry-reset",
    "retry-refused",
    "retry-post",
    "retry-grpc",
    "ring",
    "maglev",
    "hash-cookie",
    "round",
    "plain",
];

/// One of the two that are compared.
#[derive(Debug)]
pub(crate) struct Side {
    /// `envoy` or `weft`.
    pub(crate) name: &'static str,
    /// The pod that sends the requests.
    pub(crate) pod: Pod,
    /// Where each Service is.
    at: BTreeMap<String, SocketAddr>,
}

impl Side {
    /// Where a Service is dialled.
    pub(crate) fn at(&self, service: &str) -> Result<SocketAddr> {
        self.at.get(service).copied().with_context(|| format!("there is no Service {service} in the comparison"))
    }
}

/// All that a case needs.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The applications.
    pub(crate) stage: Stage,
    /// Envoy, and a client beside it.
    pub(crate) envoy: Side,
    /// A client with Weft's sidecar.
    pub(crate) weft: Side,
    /// They run as long as these are held.
    _held: (ControlPlane, Vec<Pod>, Process),
}

impl Scene {
    /// Starts everything.
    pub(crate) async fn set(world: &World) -> Result<Self> {
        let stage = Stage::default();
        let mut pods = BTreeMap::new();
        for name in ["a", "b", "mirror", "trio-1", "trio-2", "trio-3", "nobody"] {
            let pod = world.pod(name).start().await?;
            if name != "nobody" {
                stage.open(&pod, TARGET).await?;
            }
            pods.insert(name, pod);
        }
        let services = services(world, &pods)?;
        world.apply("parity.yaml", MANIFESTS)?;
        let control = world.control_plane().start().await?;
        no_faults(&control)?;
        let web = world.pod("web").sidecar().start().await?;
        let weft = services.iter().map(|service| (service.name().to_owned(), service.address(PORT))).collect();

        let beside = world.pod("envoy").start().await?;
        let names: Vec<&str> = services.iter().map(Service::name).collect();
        let process = envoy::start(world, &beside, &names)?;
        let doors =
            names.iter().enumerate().map(|(n, name)| ((*name).to_owned(), beside.address(envoy::door(n)))).collect();

        let scene = Self {
            stage,
            envoy: Side { name: "envoy", pod: beside, at: doors },
            weft: Side { name: "weft", pod: web, at: weft },
            _held: (control, pods.into_values().collect(), process),
        };
        scene.ready().await?;
        Ok(scene)
    }

    async fn ready(&self) -> Result<()> {
        for side in [&self.envoy, &self.weft] {
            wait_until("both proxies to answer", READY, async || {
                let (status, _) = client::get(&side.pod, side.at("a")?, "/").await?;
                ensure!(status == StatusCode::OK, "{} answers {status}", side.name);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }
}

fn services(world: &World, pods: &BTreeMap<&str, Pod>) -> Result<Vec<Service>> {
    let create = |name: &str, names: &[&str]| {
        let behind = pods.iter().filter(|(pod, _)| names.contains(pod)).map(|(_, pod)| pod);
        world.service(name).port(PORT, TARGET, "http").backends(behind).create()
    };
    let single = ["a", "b", "mirror"].into_iter().map(|name| create(name, &[name]));
    let special =
        [create("dead", &["nobody"]), create("half", &["nobody", "a"]), create("narrow", &["a"]), create("empty", &[])];
    let routed = ROUTED.iter().map(|name| create(name, &[]));
    let trios = TRIOS.iter().map(|name| create(name, &["trio-1", "trio-2", "trio-3"]));
    single.chain(special).chain(routed).chain(trios).collect()
}
