//! Envoy with the control plane's own resources: the very routes and clusters that Weft's sidecar is sent, given as a
//! static configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use prost::{Message, Name};
use weft_api::xds::pb::envoy::config::bootstrap::v3::{Bootstrap, bootstrap::StaticResources};
use weft_api::xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use weft_api::xds::pb::envoy::config::core::v3::{
    Address, Http1ProtocolOptions, Http2ProtocolOptions, Node, SocketAddress, address, socket_address::PortSpecifier,
};
use weft_api::xds::pb::envoy::config::listener::v3::{Filter, FilterChain, filter};
use weft_api::xds::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
use weft_api::xds::pb::envoy::extensions::filters::http::router::v3::Router;
use weft_api::xds::pb::envoy::extensions::filters::http::stateful_session::v3::StatefulSession;
use weft_api::xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter, http_connection_manager as hcm, http_filter,
};
use weft_api::xds::pb::envoy::extensions::upstreams::http::v3::{
    HttpProtocolOptions, http_protocol_options as options,
};
use weft_api::xds::pb::google::protobuf::BoolValue;
use weft_api::xds::{Cluster, ClusterLoadAssignment, Listener, ResourceKind, RouteConfiguration, pack, unpack};
use weft_cli::world::{Pod, Process, TRUST_DOMAIN, World};
use weft_control::mesh::{Mesh, MeshOptions, Mtls};
use weft_control::registry::FilesRegistry;
use weft_control::xds::resources::{self, NodeRef};

const FIRST_DOOR: u16 = 10_000;

/// The port at which Envoy serves the Service of this number.
pub(crate) fn door(number: usize) -> u16 {
    FIRST_DOOR.saturating_add(u16::try_from(number).unwrap_or(u16::MAX))
}

/// Starts Envoy in the pod, with a listener for each of the Services.
///
/// # Errors
/// Where `ENVOY` names no program, or a resource is missing or does not decode.
pub(crate) fn start(world: &World, pod: &Pod, services: &[&str]) -> Result<Process> {
    let program = program()?;
    let source = Source::read(world)?;
    let routes =
        services.iter().map(|name| source.get::<RouteConfiguration>(ResourceKind::RouteConfiguration, &full(name)));
    let routes = routes.collect::<Result<Vec<_>>>()?;
    let clusters = services.iter().map(|name| source.cluster(&full(name))).collect::<Result<Vec<_>>>()?;
    let bootstrap = Bootstrap {
        node: Some(Node { id: "parity".to_owned(), cluster: "parity".to_owned(), ..Node::default() }),
        static_resources: Some(StaticResources {
            listeners: routes.into_iter().enumerate().map(|(n, routes)| listener(door(n), routes)).collect(),
            clusters,
            secrets: Vec::new(),
        }),
        ..Bootstrap::default()
    };
    let file = world.folder().join("envoy.pb");
    std::fs::write(&file, bootstrap.encode_to_vec())?;
    let mut command = Command::new(program);
    command.arg("-c").arg(file).args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
    pod.start_app(&mut command)
}

fn program() -> Result<PathBuf> {
    let Some(path) = std::env::var_os("ENVOY").map(PathBuf::from) else {
        bail!("ENVOY does not name Envoy's program; `make parity` installs it and names it");
    };
    ensure!(path.is_file(), "ENVOY={} is not a file; `make parity` installs it", path.display());
    Ok(path)
}

fn full(service: &str) -> String {
    format!("default/{service}:80")
}

/// The control plane's view of the world, by its own library.
struct Source {
    mesh: Mesh,
    node: NodeRef,
}

impl Source {
    fn read(world: &World) -> Result<Self> {
        let (_registry, manifests) = FilesRegistry::open(world.folder().join("registry"))?;
        let options = MeshOptions {
            trust_domain: TRUST_DOMAIN.parse().context("the world's trust domain is none")?,
            default_mtls: Mtls::Permissive,
        };
        let mesh = Mesh::build(&manifests.borrow(), &BTreeMap::new(), &options);
        Ok(Self { mesh, node: NodeRef { namespace: "default".to_owned(), pod: "web".to_owned() } })
    }

    fn get<M: Message + Name + Default>(&self, kind: ResourceKind, name: &str) -> Result<M> {
        let resource = resources::resource(&self.mesh, kind, name, &self.node);
        let resource = resource.with_context(|| format!("there is no {} {name}", kind.name()))?;
        unpack(&resource.any).map_err(|error| anyhow::anyhow!("{name}: {error}"))
    }

    /// A cluster whose endpoints are part of it, and that speaks the HTTP that the client spoke, as a sidecar does.
    fn cluster(&self, name: &str) -> Result<Cluster> {
        let mut cluster: Cluster = self.get(ResourceKind::Cluster, name)?;
        let endpoints: ClusterLoadAssignment = self.get(ResourceKind::ClusterLoadAssignment, name)?;
        cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Static.into()));
        cluster.eds_cluster_config = None;
        cluster.load_assignment = Some(endpoints);
        #[expect(deprecated, reason = "this is where the resource has them; Envoy wants all such options in one place")]
        let common = cluster.common_http_protocol_options.take();
        let as_downstream = options::UseDownstreamHttpConfig {
            http_protocol_options: Some(Http1ProtocolOptions::default()),
            http2_protocol_options: Some(Http2ProtocolOptions::default()),
            ..options::UseDownstreamHttpConfig::default()
        };
        let options = HttpProtocolOptions {
            common_http_protocol_options: common,
            upstream_protocol_options: Some(options::UpstreamProtocolOptions::UseDownstreamProtocolConfig(
                as_downstream,
            )),
            ..HttpProtocolOptions::default()
        };
        let key = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions".to_owned();
        cluster.typed_extension_protocol_options.insert(key, pack(&options));
        Ok(cluster)
    }
}

/// HTTP/1 and HTTP/2, the Service's routes, and the filters that routes may configure.
fn listener(port: u16, mut routes: RouteConfiguration) -> Listener {
    // A backend that does not exist is what some cases are about.
    routes.validate_clusters = Some(BoolValue { value: false });
    let manager = HttpConnectionManager {
        stat_prefix: routes.name.clone(),
        route_specifier: Some(hcm::RouteSpecifier::RouteConfig(routes)),
        http_filters: vec![
            http_filter("envoy.filters.http.fault", &HttpFault::default()),
            http_filter("envoy.filters.http.stateful_session", &StatefulSession::default()),
            http_filter("envoy.filters.http.router", &Router { suppress_envoy_headers: true, ..Router::default() }),
        ],
        generate_request_id: Some(BoolValue { value: false }),
        server_header_transformation: hcm::ServerHeaderTransformation::PassThrough.into(),
        ..HttpConnectionManager::default()
    };
    let filter = Filter {
        name: "envoy.filters.network.http_connection_manager".to_owned(),
        config_type: Some(filter::ConfigType::TypedConfig(pack(&manager))),
    };
    let socket = SocketAddress {
        address: "0.0.0.0".to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(port.into())),
        ..SocketAddress::default()
    };
    Listener {
        name: format!("door-{port}"),
        address: Some(Address { address: Some(address::Address::SocketAddress(socket)) }),
        filter_chains: vec![FilterChain { filters: vec![filter], ..FilterChain::default() }],
        ..Listener::default()
    }
}

fn http_filter<M: Message + Name>(name: &str, config: &M) -> HttpFilter {
    HttpFilter {
        name: name.to_owned(),
        config_type: Some(http_filter::ConfigType::TypedConfig(pack(config))),
        ..HttpFilter::default()
    }
}
