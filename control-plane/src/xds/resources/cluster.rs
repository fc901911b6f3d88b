//! Clusters: where the endpoints of a name come from.

use prost::Message as _;
use weft_api::xds::Cluster;
use weft_api::xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, EdsClusterConfig};
use weft_api::xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints, lb_endpoint::HostIdentifier,
};

use super::{Target, endpoints, listener};
use crate::mesh::Mesh;

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
