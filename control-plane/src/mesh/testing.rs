//! For tests: a mesh from text.

use std::sync::Arc;

use super::{Manifests, Mesh, MeshOptions, Mtls, ObjectName, Split, SplitBackend};
use crate::registry::testing::good;

pub(crate) fn options() -> MeshOptions {
    MeshOptions { trust_domain: "cluster.local".parse().unwrap(), default_mtls: Mtls::Permissive }
}

/// A mesh without splits.
pub(crate) fn mesh(text: &str) -> Mesh {
    split_mesh(good(text), &[])
}

/// A mesh with splits.
pub(crate) fn split_mesh(manifests: Manifests, splits: &[Split]) -> Mesh {
    let splits = splits.iter().map(|split| (split.service.clone(), Arc::new(split.clone()))).collect();
    Mesh::build(&Arc::new(manifests), &splits, &options())
}

/// A split of a Service in the namespace `shop`; port 0 is the port that was dialled.
pub(crate) fn split(service: &str, backends: &[(&str, u16, u32)]) -> Split {
    let backend = |&(service, port, weight): &(&str, u16, u32)| SplitBackend {
        service: service.into(),
        port: (port != 0).then_some(port),
        weight,
    };
    Split { service: ObjectName::new("shop", service), version: 1, backends: backends.iter().map(backend).collect() }
}
