use std::time::Instant;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_server::Server;
use hickory_server::proto::rr::{LowerName, Name, RData, Record};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use tokio::net::UdpSocket;

use super::*;

/// A name server for `example.` on loopback.
struct NameServer {
    zone: Arc<InMemoryZoneHandler>,
    port: u16,
    server: Server<Catalog>,
}

impl NameServer {
    async fn start() -> Self {
        let origin = Name::from_ascii("example.").unwrap();
        let zone = InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
        let zone: Arc<InMemoryZoneHandler> = Arc::new(zone);
        let mut catalog = Catalog::new();
        catalog.upsert(LowerName::from(origin), vec![Arc::clone(&zone) as Arc<dyn ZoneHandler>]);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut server = Server::new(catalog);
        server.register_socket(socket);
        Self { zone, port, server }
    }

    /// From now on `db.example` has this address, for this many seconds.
    async fn set(&self, address: &str, ttl: u32) {
        let data = match address.parse().unwrap() {
            IpAddr::V4(address) => RData::A(address.into()),
            IpAddr::V6(address) => RData::AAAA(address.into()),
        };
        self.zone.records_mut().await.clear();
        self.zone.upsert(Record::from_rdata(Name::from_ascii("db.example.").unwrap(), ttl, data), 1).await;
    }

    fn resolver(&self) -> Result<TokioResolver, String> {
        let mut connection = ConnectionConfig::udp();
        connection.port = self.port;
        let server = NameServerConfig::new([127, 0, 0, 1].into(), true, vec![connection]);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        crate::resolver::configure(builder.options_mut());
        builder.options_mut().timeout = Duration::from_millis(200);
        builder.options_mut().attempts = 0;
        builder.build().map_err(|error| error.to_string())
    }
}

fn addresses(resolved: Option<Resolved>) -> Option<Vec<String>> {
    Some(resolved?.addresses?.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn a_name_is_asked_for_again_when_its_ttl_is_over() {
    let server = NameServer::start().await;
    server.set("192.0.2.1", 1).await;
    let (mut names, mut resolved) = Names::new(server.resolver());
    names.change(NameChange::Start("db.example".into()));
    assert_eq!(addresses(resolved.recv().await), Some(vec!["192.0.2.1".to_owned()]));
    let answered = Instant::now();
    server.set("2001:db8::1", 3600).await;
    assert_eq!(addresses(resolved.recv().await), Some(vec!["2001:db8::1".to_owned()]));
    let waited = answered.elapsed();
    assert!(waited >= Duration::from_millis(900), "asked again after {waited:?}, before the TTL was over");
}

#[tokio::test]
async fn a_failure_is_told_and_the_name_is_asked_for_again() {
    let mut server = NameServer::start().await;
    let (mut names, mut resolved) = Names::new(server.resolver());
    names.change(NameChange::Start("db.example".into()));
    assert_eq!(addresses(resolved.recv().await), None, "the name does not exist");
    server.set("192.0.2.1", 1).await;
    assert_eq!(addresses(resolved.recv().await), Some(vec!["192.0.2.1".to_owned()]));
    server.server.shutdown_gracefully().await.unwrap();
    assert_eq!(addresses(resolved.recv().await), None, "the name server is gone");
}

#[tokio::test]
async fn a_name_that_is_no_more_wanted_is_asked_for_no_more() {
    let server = NameServer::start().await;
    let (mut names, mut resolved) = Names::new(server.resolver());
    names.change(NameChange::Start("db.example".into()));
    resolved.recv().await.unwrap();
    names.change(NameChange::Stop("db.example".into()));
    assert!(names.running.is_empty());
    assert!(names.tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
}

#[tokio::test]
async fn an_address_needs_no_resolver() {
    let nowhere = Err("no resolver".to_owned());
    assert_eq!(lookup(nowhere.as_ref(), "192.0.2.7").await.unwrap().0, ["192.0.2.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(lookup(nowhere.as_ref(), "db.example").await.unwrap_err(), "no resolver");
}

#[test]
fn failures_are_retried_after_1_to_30_seconds() {
    let waits: Vec<_> = (0..7).map(|failures| retry_after(failures).as_secs()).collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
}
