//! xDS resources -> checked, compact, immutable values. `docs/reference/xds.md` describes the subset.
//!
//! Strict about what changes the meaning of a resource and cannot be done: it is refused with the field's path.
//! Tolerant about the rest, such as `stat_prefix`, buffer sizes, and fields that only Envoy's own listeners need.

mod cluster;
mod endpoints;
mod fault;
mod inbound;
mod listener;
mod routes;

use std::sync::Arc;

use weft_api::names::INBOUND_LISTENER;
use weft_api::xds::pb::envoy::config::core::v3::{ConfigSource, SocketAddress, address, config_source, socket_address};
use weft_api::xds::pb::envoy::r#type::v3::FractionalPercent;
use weft_api::xds::pb::envoy::r#type::v3::fractional_percent::DenominatorType;
use weft_api::xds::pb::google::protobuf::{self, Any};
use weft_api::xds::{self, ResourceKind};
use weft_rules::share::Share;

pub(super) use cluster::{ClusterSpec, Discovery, HostPort};
pub(super) use fault::Fault;
pub(super) use inbound::InboundSpec;
pub(super) use listener::ListenerSpec;
pub(super) use routes::RouteSpec;

use super::values::Endpoints;
use fault::Within;

/// A checked resource.
#[derive(Debug)]
pub(super) enum Resource {
    Listener(ListenerSpec),
    Inbound(InboundSpec),
    Routes(RouteSpec),
    Cluster(ClusterSpec),
    Endpoints(Endpoints),
}

/// Checks the resource that came under this name.
///
/// # Errors
/// The first field that is wrong or not supported, by its path.
pub(super) fn parse(kind: ResourceKind, name: &str, resource: Option<&Any>) -> Result<Resource, Fault> {
    let any = resource.ok_or_else(|| Fault::here("has no content"))?;
    match kind {
        ResourceKind::Listener => {
            let listener = unpack::<xds::Listener>(any)?;
            same_name("name", name, &listener.name)?;
            if name == INBOUND_LISTENER {
                inbound::parse(&listener).map(Resource::Inbound)
            } else {
                listener::parse(&listener).map(Resource::Listener)
            }
        }
        ResourceKind::RouteConfiguration => {
            let routes = unpack::<xds::RouteConfiguration>(any)?;
            same_name("name", name, &routes.name)?;
            routes::parse(&routes).map(Resource::Routes)
        }
        ResourceKind::Cluster => {
            let cluster = unpack::<xds::Cluster>(any)?;
            same_name("name", name, &cluster.name)?;
            cluster::parse(&cluster).map(Resource::Cluster)
        }
        ResourceKind::ClusterLoadAssignment => {
            let assignment = unpack::<xds::ClusterLoadAssignment>(any)?;
            same_name("cluster_name", name, &assignment.cluster_name)?;
            endpoints::parse(&assignment).map(Resource::Endpoints)
        }
    }
}

fn unpack<M: prost::Message + prost::Name + Default>(any: &Any) -> Result<M, Fault> {
    xds::unpack(any).map_err(Fault::here)
}

fn same_name(field: &str, expected: &str, name: &str) -> Result<(), Fault> {
    if name == expected { Ok(()) } else { Err(Fault::new(field, format!("is {name:?}, but came as {expected:?}"))) }
}

/// The name of a resource that this one refers to.
fn reference(field: &str, name: &str) -> Result<Arc<str>, Fault> {
    if name.is_empty() { Err(Fault::new(field, "is empty")) } else { Ok(name.into()) }
}

/// Whatever is fetched must come by the stream that we have.
fn require_ads(field: &str, source: Option<&ConfigSource>) -> Result<(), Fault> {
    match source.and_then(|source| source.config_source_specifier.as_ref()) {
        Some(config_source::ConfigSourceSpecifier::Ads(_)) => Ok(()),
        Some(_) => Err(Fault::new(field, "is not `ads`, the only source supported")),
        None => Err(Fault::new(field, "is missing; expected `ads`")),
    }
}

/// A non-negative duration.
fn duration(field: &str, duration: protobuf::Duration) -> Result<std::time::Duration, Fault> {
    let parts = (u64::try_from(duration.seconds), u32::try_from(duration.nanos));
    match parts {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(std::time::Duration::new(seconds, nanos)),
        _ => Err(Fault::new(field, format!("{}s and {}ns is not a duration", duration.seconds, duration.nanos))),
    }
}

/// A duration above zero.
fn above_zero(field: &str, value: protobuf::Duration) -> Result<std::time::Duration, Fault> {
    match duration(field, value)? {
        zero if zero.is_zero() => Err(Fault::new(field, "is 0")),
        above => Ok(above),
    }
}

/// A bound on time; 0 means that there is none.
fn limited(field: &str, bound: protobuf::Duration) -> Result<Option<std::time::Duration>, Fault> {
    duration(field, bound).map(|bound| (!bound.is_zero()).then_some(bound))
}

/// A share of all requests; none where it is not told.
fn share(field: &str, fraction: Option<&FractionalPercent>) -> Result<Share, Fault> {
    let Some(fraction) = fraction else { return Ok(Share::NONE) };
    let denominator = match DenominatorType::try_from(fraction.denominator) {
        Ok(DenominatorType::Hundred) => 100,
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        Err(_) => return Err(Fault::new(field, "has no known denominator")),
    };
    Ok(Share::from(fraction.numerator, denominator))
}

/// A number of percent from 0 to 100, without a fraction.
fn percent(field: &str, percent: f64) -> Result<u8, Fault> {
    if !(0.0..=100.0).contains(&percent) {
        return Err(Fault::new(field, format!("{percent} is not from 0 to 100")));
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to 100")]
    Ok(percent.round() as u8)
}

/// The `address` field of an endpoint: a TCP address with a port, the host as text.
fn socket_address(wrapped: Option<&xds::pb::envoy::config::core::v3::Address>) -> Result<(&str, u16), Fault> {
    let inner = wrapped.and_then(|wrapped| wrapped.address.as_ref());
    let Some(address::Address::SocketAddress(address)) = inner else {
        return Err(Fault::new("address", "has no socket_address"));
    };
    host_and_port(address).within("address.socket_address")
}

fn host_and_port(address: &SocketAddress) -> Result<(&str, u16), Fault> {
    if address.protocol != i32::from(xds::pb::envoy::config::core::v3::socket_address::Protocol::Tcp) {
        return Err(Fault::new("protocol", "is not TCP"));
    }
    let port = match address.port_specifier {
        Some(socket_address::PortSpecifier::PortValue(port)) => u16::try_from(port).ok().filter(|port| *port != 0),
        _ => None,
    };
    let port = port.ok_or_else(|| Fault::new("port_value", "is not a port from 1 to 65535"))?;
    Ok((&address.address, port))
}

#[cfg(test)]
mod tests;
