//! Kubernetes' objects -> the mesh's: checked field by field, and compact.

use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weft_api::names::is_dns_label;

use super::decode::{self, Head};
use super::fault::{FieldPath, Report};
use crate::mesh::{ObjectName, Route, RouteKind, ServiceAccount};
pub(super) use kind::Kind;
pub(super) use object::{Object, remove, subject};
use route::Owner;
use route::raw::{Manifest, RouteSpec};

mod duration;
mod endpoint_slice;
mod fault_injection;
mod grpc_route;
mod http_route;
mod kind;
mod namespace;
mod node;
mod object;
mod opaque_ports;
mod pod;
mod reference_grant;
mod route;
mod secret;
mod service;
mod stream_route;
mod traffic_policy;
mod unknown;

/// What a value is.
#[derive(Debug)]
pub(super) enum Reading {
    /// Nothing that Weft reads.
    Nothing,
    /// An object, as far as it could be read: the report tells what could not.
    Object((Kind, ObjectName), Object),
    /// Unusable; with its name where that could be read. The report tells why.
    Invalid(Option<(Kind, ObjectName)>),
}

impl Reading {
    /// The kind and name, where they could be read.
    pub(super) fn key(&self) -> Option<&(Kind, ObjectName)> {
        match self {
            Self::Nothing | Self::Invalid(None) => None,
            Self::Object(key, _) | Self::Invalid(Some(key)) => Some(key),
        }
    }
}

/// Where objects come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Files: what they ask for is taken for done.
    Files,
    /// A cluster: an object is as it is.
    Cluster,
}

/// Reads a manifest of a file, in whatever form it came.
pub(super) fn read(manifest: &Value, report: &mut Report) -> Reading {
    let Ok(head) = decode::<Head>(manifest, report) else { return Reading::Invalid(None) };
    let (Some(version), Some(kind)) = (&head.api_version, &head.kind) else {
        let missing = if head.api_version.is_none() { "apiVersion" } else { "kind" };
        report.error(FieldPath::of(&[missing]), "is missing: this is no Kubernetes manifest");
        return Reading::Invalid(None);
    };
    match known_kind(version, kind, report) {
        Some(kind) => read_as(kind, Origin::Files, &head, manifest, report),
        None => Reading::Nothing,
    }
}

/// Reads an object whose kind is known: a list does not repeat it.
pub(super) fn read_as(kind: Kind, origin: Origin, head: &Head, manifest: &Value, report: &mut Report) -> Reading {
    let Some(name) = name(kind, head, report) else { return Reading::Invalid(None) };
    match object(kind, origin, &name, manifest, report) {
        Ok(Some(object)) => Reading::Object((kind, name), object),
        Ok(None) => Reading::Nothing,
        Err(Refused) => Reading::Invalid(Some((kind, name))),
    }
}

/// An object cannot be used; the report tells why.
#[derive(Debug, PartialEq, Eq)]
struct Refused;

/// The value, or the object is refused.
fn required<T>(value: Option<T>) -> Result<T, Refused> {
    value.ok_or(Refused)
}

fn known_kind(version: &str, kind: &str, report: &mut Report) -> Option<Kind> {
    let is = |known: &Kind| known.name() == kind && known.api_versions().contains(&version);
    if let Some(known) = Kind::ALL.into_iter().find(is) {
        return Some(known);
    }
    let group = |version: &str| version.rsplit_once('/').map(|(group, _)| group.to_owned());
    let versions = |known: Kind| known.api_versions().iter();
    if Kind::ALL.into_iter().flat_map(versions).any(|known| group(known) == group(version)) {
        let read = Kind::ALL.map(|known| format!("{known} ({})", known.api_versions().join(", "))).join(", ");
        report.warning(FieldPath::of(&["kind"]), format!("{kind} of {version} is not read; the kinds are {read}"));
    }
    None
}

fn name(kind: Kind, head: &Head, report: &mut Report) -> Option<ObjectName> {
    let field = FieldPath::of(&["metadata", "name"]);
    let Some(name) = &head.metadata.name else {
        report.error(field, "is missing");
        return None;
    };
    let valid =
        if matches!(kind, Kind::Service | Kind::Namespace) { is_dns_label(name) } else { is_dns_subdomain(name) };
    if !valid {
        report.error(field, format!("{name:?} is no RFC 1123 name: a-z, 0-9 and inner '-' alone"));
        return None;
    }
    if kind.is_cluster_wide() {
        return Some(ObjectName::new("", name.as_str()));
    }
    let namespace = namespace(&FieldPath::of(&["metadata", "namespace"]), head.metadata.namespace.as_deref(), report)?;
    Some(ObjectName::new(namespace, name.as_str()))
}

fn object(
    kind: Kind,
    origin: Origin,
    name: &ObjectName,
    manifest: &Value,
    report: &mut Report,
) -> Result<Option<Object>, Refused> {
    let object = match kind {
        Kind::Service => {
            Object::Service(Arc::new(service::read(name, decode::<core::Service>(manifest, report)?, report)?))
        }
        Kind::EndpointSlice => {
            let slice = decode::<discovery::EndpointSlice>(manifest, report)?;
            match endpoint_slice::read(name, slice, report)? {
                Some(slice) => Object::EndpointSlice(Arc::new(slice)),
                None => return Ok(None),
            }
        }
        Kind::Pod => Object::Pod(Arc::new(pod::read(name, origin, decode::<core::Pod>(manifest, report)?, report)?)),
        Kind::ServiceAccount => {
            decode::<core::ServiceAccount>(manifest, report)?;
            Object::ServiceAccount(Arc::new(ServiceAccount { name: name.clone() }))
        }
        Kind::Secret => match secret::read(name, manifest, report)? {
            Some(token) => Object::JoinToken(Arc::new(token)),
            None => return Ok(None),
        },
        Kind::Namespace => Object::Namespace(Arc::new(namespace::read(decode::<core::Namespace>(manifest, report)?))),
        Kind::Node => Object::Node(Arc::new(node::read(decode::<core::Node>(manifest, report)?))),
        Kind::Route(kind) => Object::Route(Arc::new(read_route(kind, name, manifest, report)?)),
        Kind::ReferenceGrant => {
            let (manifest, unknown) = decode_whole::<reference_grant::Spec>(manifest, report)?;
            Object::ReferenceGrant(Arc::new(reference_grant::read(name, manifest.spec, &unknown, report)?))
        }
        Kind::TrafficPolicy => {
            let (manifest, unknown) = decode_whole::<traffic_policy::Spec>(manifest, report)?;
            let created = manifest.created();
            Object::TrafficPolicy(Arc::new(traffic_policy::read(name, created, manifest.spec, &unknown, report)?))
        }
        Kind::FaultInjection => {
            let (manifest, unknown) = decode_whole::<fault_injection::Spec>(manifest, report)?;
            Object::FaultInjection(Arc::new(fault_injection::read(name, manifest.spec, &unknown, report)?))
        }
    };
    Ok(Some(object))
}

fn read_route(kind: RouteKind, name: &ObjectName, manifest: &Value, report: &mut Report) -> Result<Route, Refused> {
    type Read<R> = fn(Owner<'_>, i64, RouteSpec<R>, &mut Report) -> Result<Route, Refused>;
    fn with<R: DeserializeOwned + Serialize>(
        kind: RouteKind,
        name: &ObjectName,
        manifest: &Value,
        report: &mut Report,
        read: Read<R>,
    ) -> Result<Route, Refused> {
        let (manifest, unknown) = decode_whole::<RouteSpec<R>>(manifest, report)?;
        let created = manifest.created();
        read(Owner { kind, name, unknown: &unknown }, created, manifest.spec, report)
    }
    match kind {
        RouteKind::Http => with(kind, name, manifest, report, http_route::read),
        RouteKind::Grpc => with(kind, name, manifest, report, grpc_route::read),
        RouteKind::Tls | RouteKind::Tcp => with(kind, name, manifest, report, stream_route::read),
    }
}

/// Decodes a manifest, with the fields of its spec that are written and that the type doesn't have.
fn decode_whole<S: DeserializeOwned + Serialize>(
    written: &Value,
    report: &mut Report,
) -> Result<(Manifest<S>, Vec<FieldPath>), Refused> {
    let manifest: Manifest<S> = decode(written, report)?;
    let unknown = unknown::unknown_fields(written, &manifest.spec);
    Ok((manifest, unknown))
}

fn decode<T: DeserializeOwned>(manifest: &Value, report: &mut Report) -> Result<T, Refused> {
    decode::decode(manifest).map_err(|problem| {
        report.0.push(problem);
        Refused
    })
}

/// A namespace: an RFC 1123 label; `default` where there is none.
fn namespace(field: &FieldPath, namespace: Option<&str>, report: &mut Report) -> Option<Arc<str>> {
    let namespace = namespace.filter(|text| !text.is_empty()).unwrap_or("default");
    if !is_dns_label(namespace) {
        report.error(field.clone(), format!("{namespace:?} is no RFC 1123 label: 1 to 63 of a-z, 0-9 and inner '-'"));
        return None;
    }
    Some(namespace.into())
}

/// Whether a text is an RFC 1123 subdomain: at most 253 bytes, labels with dots between them.
fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// A port's number, from 1 to 65535.
fn port(number: impl Into<i64>) -> Result<u16, String> {
    let number = number.into();
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(format!("{number} is not a port; ports are 1 to 65535")),
    }
}

/// Whether a port is one of TCP: others are no business of the mesh.
fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

/// An IP address that can be dialled. IPv4 within IPv6 is taken for the IPv4 that it is.
fn address(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text.parse().map_err(|_| format!("{text:?} is not an IP address"))?;
    let address = address.to_canonical();
    if address.is_unspecified() || address.is_multicast() {
        return Err(format!("{address} is not the address of one machine"));
    }
    Ok(address)
}

#[cfg(test)]
mod tests;
