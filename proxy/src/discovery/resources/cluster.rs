//! Cluster -> how its endpoints are found, and what applies to the traffic that goes there.

mod balance;
mod health;
mod limits;
mod outlier;

use std::sync::Arc;

use weft_api::xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use weft_api::xds::pb::envoy::config::core::v3::HttpProtocolOptions;
use weft_api::xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use weft_api::xds::pb::google::protobuf;
use weft_api::xds::{self, Cluster};

use super::fault::{Fault, Within as _, refuse};
use super::{duration, limited, require_ads, socket_address};
use crate::discovery::values::ClusterPolicy;

/// A cluster.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::discovery) struct ClusterSpec {
    pub(in crate::discovery) policy: Arc<ClusterPolicy>,
    pub(in crate::discovery) discovery: Discovery,
}

/// How the endpoints are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::discovery) enum Discovery {
    /// By a ClusterLoadAssignment of the same name.
    Eds,
    /// By resolving these names; never empty.
    Dns(Vec<HostPort>),
}

/// A name outside the mesh, or an address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::discovery) struct HostPort {
    pub(in crate::discovery) host: Arc<str>,
    pub(in crate::discovery) port: u16,
}

/// Checks a cluster.
pub(super) fn parse(cluster: &Cluster) -> Result<ClusterSpec, Fault> {
    refuse!(cluster; transport_socket, transport_socket_matches, transport_socket_matcher, lb_subset_config,
        upstream_bind_config, filters, upstream_config);
    Ok(ClusterSpec { policy: Arc::new(policy(cluster)?), discovery: discovery(cluster)? })
}

fn policy(cluster: &Cluster) -> Result<ClusterPolicy, Fault> {
    let breakers = cluster.circuit_breakers.as_ref().map(limits::limits).transpose().within("circuit_breakers")?;
    let (limits, budget) = breakers.unwrap_or_default();
    let outlier = cluster.outlier_detection.as_ref().map(outlier::policy).transpose().within("outlier_detection")?;
    let defaults = HttpProtocolOptions::default();
    // Deprecated in favour of an extension that says the same in another place.
    #[allow(deprecated)]
    let http = cluster.common_http_protocol_options.as_ref().unwrap_or(&defaults);
    let connect_timeout = match cluster.connect_timeout {
        Some(timeout) => duration("connect_timeout", timeout)?,
        None => ClusterPolicy::CONNECT_TIMEOUT,
    };
    if connect_timeout.is_zero() {
        return Err(Fault::new("connect_timeout", "is 0; no connection could be established"));
    }
    let http_time = |field, time: Option<protobuf::Duration>| {
        let time = time.map(|time| limited(field, time)).transpose().within("common_http_protocol_options");
        time.map(Option::flatten)
    };
    let text = |key| xds::metadata_text(cluster.metadata.as_ref(), key);
    Ok(ClusterPolicy {
        balance: balance::policy(cluster)?,
        limits,
        budget,
        outlier,
        health: health::policy(&cluster.health_checks)?,
        connect_timeout,
        idle_timeout: http_time("idle_timeout", http.idle_timeout)?,
        max_connection_age: http_time("max_connection_duration", http.max_connection_duration)?,
        max_stream_age: http_time("max_stream_duration", http.max_stream_duration)?,
        manifest: text(xds::METADATA_MANIFEST).unwrap_or_default().into(),
        node_local: text(xds::METADATA_INTERNAL_TRAFFIC) == Some("Local"),
        node_first: text(xds::METADATA_LOCALITY) == Some("PreferSameNode"),
    })
}

fn discovery(cluster: &Cluster) -> Result<Discovery, Fault> {
    let kind = match cluster.cluster_discovery_type {
        Some(ClusterDiscoveryType::Type(kind)) => DiscoveryType::try_from(kind).ok(),
        Some(ClusterDiscoveryType::ClusterType(_)) => None,
        None => Some(DiscoveryType::Static),
    };
    match kind {
        Some(DiscoveryType::Eds) => eds(cluster),
        Some(DiscoveryType::StrictDns) => hosts(cluster).within("load_assignment").map(Discovery::Dns),
        Some(other) => Err(Fault::new("type", format!("{} is not EDS or STRICT_DNS", other.as_str_name()))),
        None => Err(Fault::new("cluster_type", "is not supported; use EDS or STRICT_DNS")),
    }
}

fn eds(cluster: &Cluster) -> Result<Discovery, Fault> {
    let eds = cluster.eds_cluster_config.as_ref();
    require_ads("eds_cluster_config.eds_config", eds.and_then(|eds| eds.eds_config.as_ref()))?;
    match eds {
        Some(eds) if !eds.service_name.is_empty() && eds.service_name != cluster.name => {
            Err(Fault::new("eds_cluster_config.service_name", "differs from the cluster's name"))
        }
        _ => Ok(Discovery::Eds),
    }
}

fn hosts(cluster: &Cluster) -> Result<Vec<HostPort>, Fault> {
    let localities = cluster.load_assignment.iter().flat_map(|assignment| &assignment.endpoints).enumerate();
    let mut hosts = Vec::new();
    for (at, locality) in localities {
        for (index, endpoint) in locality.lb_endpoints.iter().enumerate() {
            let parse = || {
                let Some(HostIdentifier::Endpoint(endpoint)) = &endpoint.host_identifier else {
                    return Err(Fault::new("endpoint", "is missing"));
                };
                let (host, port) = socket_address(endpoint.address.as_ref()).within("endpoint")?;
                if host.is_empty() {
                    return Err(Fault::new("endpoint.address.socket_address.address", "is empty"));
                }
                Ok(HostPort { host: host.into(), port })
            };
            hosts.push(parse().within_item("lb_endpoints", index).within_item("endpoints", at)?);
        }
    }
    if hosts.is_empty() { Err(Fault::new("endpoints", "has no name to resolve")) } else { Ok(hosts) }
}

#[cfg(test)]
mod tests;
