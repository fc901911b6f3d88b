//! Names outside the mesh: resolved by the proxy, again when their TTL is over.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hickory_server::Server;
use hickory_server::proto::rr::{LowerName, Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use http::StatusCode;
use libtest_mimic::Trial;
use nix::mount::{MsFlags, mount};
use tokio::net::UdpSocket;
use weft_cli::world::{Pod, World, wait_until};
use weft_tests::{apps, client, trial};

const LIMIT: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(15);
const ZONE: &str = "example.";
const NAME: &str = "db.example.";

/// One trial, since what it does to `/etc/resolv.conf` is for all of this process's namespace.
pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("an ExternalName follows its name", LIMIT, external_name)]
}

async fn external_name(world: World) -> Result<()> {
    let names = NameServer::start(&world).await?;
    let resolv_conf = world.folder().join("resolv.conf");
    std::fs::write(&resolv_conf, format!("nameserver {}\n", names.pod.address(53).ip()))?;
    mount::<_, _, str, str>(Some(&resolv_conf), "/etc/resolv.conf", None, MsFlags::MS_BIND, None)
        .context("cannot replace /etc/resolv.conf in this namespace")?;

    let _control = world.control_plane().start().await?;
    let (first, second) = (world.pod("first").start().await?, world.pod("second").start().await?);
    for pod in [&first, &second] {
        apps::h1(pod, 8080).await?;
    }
    names.set(first.address(8080), 1).await?;
    world.service("db").port(8080, 8080, "http").external_name("db.example").create()?;
    let service = world.service("api").port(80, 8080, "http").create()?;
    world.apply("route.yaml", ROUTE)?;
    let web = world.pod("web").sidecar().start().await?;

    answers(&web, service.address(80), "first").await?;
    names.set(second.address(8080), 1).await?;
    answers(&web, service.address(80), "second").await
}

const ROUTE: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: default}
spec:
  parentRefs: [{group: '', kind: Service, name: api, port: 80}]
  rules: [{backendRefs: [{name: db, port: 8080}]}]
";

async fn answers(web: &Pod, address: SocketAddr, name: &str) -> Result<()> {
    wait_until("the name's new address", SOON, async || {
        let (status, body) = client::get(web, address, "/").await?;
        ensure!(status == StatusCode::OK && body.starts_with(name), "{status}: {body}");
        Ok(())
    })
    .await
}

/// A name server for `example.`, in a pod of its own.
struct NameServer {
    /// It runs as long as this is held.
    pod: Pod,
    zone: Arc<InMemoryZoneHandler>,
}

impl NameServer {
    async fn start(world: &World) -> Result<Self> {
        let pod = world.pod("names").start().await?;
        let address = pod.address(53);
        let socket = pod.run(async move { Ok(UdpSocket::bind(address).await?) }).await?;
        let origin = Name::from_ascii(ZONE)?;
        let zone = Arc::new(InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny));
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::from(origin), vec![Arc::clone(&zone) as Arc<dyn ZoneHandler>]);
        drop(pod.spawn(async move {
            let mut server = Server::new(catalog);
            server.register_socket(socket);
            server.block_until_done().await
        }));
        Ok(Self { pod, zone })
    }

    /// From now on the name has this address, for `ttl` seconds.
    async fn set(&self, address: SocketAddr, ttl: u32) -> Result<()> {
        let IpAddr::V4(ip) = address.ip() else { bail!("{address} is no IPv4 address") };
        self.zone.records_mut().await.clear();
        self.zone.upsert(Record::from_rdata(Name::from_ascii(NAME)?, ttl, RData::A(ip.into())), 1).await;
        Ok(())
    }
}
