//! Clusters: where the endpoints of a name come from, and what its Service's TrafficPolicy says of them.

use prost::Message as _;
use weft_api::xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
use weft_api::xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};
use weft_api::xds::pb::google::protobuf::value::Kind;
use weft_api::xds::{self, Cluster, METADATA_INTERNAL_TRAFFIC, METADATA_LOCALITY, METADATA_MANIFEST};

use super::{Target, endpoints, listener};
use crate::mesh::{Locality, Mesh};

mod balance;
mod health;
mod limits;

pub(super) fn cluster(mesh: &Mesh, name: &str) -> Option<Vec<u8>> {
    let target = Target::find(mesh, name)?;
    let mut cluster = Cluster { name: target.name(), ..Cluster::default() };
    match external(&target) {
        None => {
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Eds.into()));
            cluster.eds_cluster_config =
                Some(EdsClusterConfig { eds_config: Some(listener::ads()), ..EdsClusterConfig::default() });
        }
        Some((host, port)) => {
            cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::StrictDns.into()));
            cluster.load_assignment = Some(one_endpoint(&target.name(), host, port));
        }
    }
    if let Target::Service(service, port) = target {
        let policy = mesh.policy(service, port);
        balance::apply(&mut cluster, policy.map(|policy| &policy.balance), service.locality);
        let manifest = policy.map(|policy| (METADATA_MANIFEST, format!("TrafficPolicy {}", policy.name)));
        let internal = service.node_local.then(|| (METADATA_INTERNAL_TRAFFIC, "Local".to_owned()));
        let written = policy.and_then(|policy| policy.balance.locality).unwrap_or(service.locality);
        let node_first =
            (written == Locality::PreferSameNode).then(|| (METADATA_LOCALITY, "PreferSameNode".to_owned()));
        let about: Vec<_> = manifest.into_iter().chain(internal).chain(node_first).collect();
        if !about.is_empty() {
            cluster.metadata = Some(xds::metadata(about.into_iter().map(|(key, text)| (key, Kind::StringValue(text)))));
        }
        if let Some(policy) = policy {
            limits::apply(&mut cluster, policy);
            cluster.outlier_detection = policy.outlier.as_ref().map(health::outlier);
            cluster.health_checks = policy.health.iter().map(health::check).collect();
        }
    }
    Some(cluster.encode_to_vec())
}

/// The name outside the mesh that a Service of type ExternalName stands for.
fn external<'a>(target: &Target<'a>) -> Option<(&'a str, u16)> {
    match target {
        Target::Service(service, port) => Some((service.external_name.as_deref()?, port.number)),
        Target::Pod(..) => None,
    }
}

fn one_endpoint(name: &str, host: &str, port: u16) -> ClusterLoadAssignment {
    let endpoint = Endpoint { address: Some(endpoints::address(host, port)), ..Endpoint::default() };
    let endpoint = LbEndpoint { host_identifier: Some(HostIdentifier::Endpoint(endpoint)), ..LbEndpoint::default() };
    let locality = LocalityLbEndpoints { lb_endpoints: vec![endpoint], ..LocalityLbEndpoints::default() };
    ClusterLoadAssignment { cluster_name: name.to_owned(), endpoints: vec![locality], ..Default::default() }
}
