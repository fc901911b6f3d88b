//! What the proxy, the control plane and the command have to agree on: protobuf services, the subset of xDS, and names.
//!
//! [`traffic`], [`status`] and [`istio_ca`] are Weft's own services; [`xds`] is the part of Envoy's v3 API that Weft
//! speaks, described in `docs/reference/xds.md`; [`streams`] are the two of its streams that stay open; [`load`] is what it
//! adds to load reports; [`names`] parses and prints the names of xDS resources.

pub mod load;
pub mod names;
pub mod ports;
pub mod streams;
pub mod xds;

/// `weft.traffic.v1`: shifting a Service's traffic between backends.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated; the .proto file has the documentation")]
pub mod traffic {
    tonic::include_proto!("weft.traffic.v1");
}

/// `weft.status.v1`: the connected proxies and the registry's faults.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated; the .proto file has the documentation")]
pub mod status {
    tonic::include_proto!("weft.status.v1");
}

/// `istio.v1.auth`: the certificate service, wire-compatible with Istio's.
#[allow(missing_docs, clippy::all, clippy::pedantic, reason = "generated; the .proto file has the documentation")]
pub mod istio_ca {
    tonic::include_proto!("istio.v1.auth");
}

/// The state of a shift by its name in JSON, as protobuf's own JSON form has it.
mod shift_state {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::traffic::shift::State;

    pub(crate) fn serialize<S: Serializer>(state: &i32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(State::try_from(*state).unwrap_or_default().as_str_name())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i32, D::Error> {
        let name = String::deserialize(deserializer)?;
        let state = State::from_str_name(&name);
        state.map(i32::from).ok_or_else(|| de::Error::custom(format!("{name:?} is no state of a shift")))
    }
}

/// The encoded `FileDescriptorSet` of Weft's own services, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/weft.descriptors"));
