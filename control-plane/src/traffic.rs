//! Shifting a Service's traffic between backends: `weft.traffic.v1.Traffic` and the same as JSON.
//!
//! ```text
//! gRPC (service) ─┐                 ┌─> store: durable, then published
//! JSON (http)    ─┴─> validate ─────┤        │
//!                         shift ────┘ writes by itself, step by step, as long as what proxies report (load) is good
//! watch <── rollout (who acknowledged what) <┴─> mesh ─> xds
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use weft_api::traffic as api;

pub mod error;
pub mod http;
pub mod rollout;
pub mod service;
pub mod shift;
pub mod store;
mod validate;
mod watch;

pub use error::TrafficError;
pub use service::Traffic;
pub use shift::Shifter;
pub use store::{ClusterStore, DiskStore, Store};

use crate::mesh::{ObjectName, Split, SplitBackend};

/// All splits, by the Service that clients dial.
pub type Splits = BTreeMap<ObjectName, Arc<Record>>;

/// The highest weight of a backend.
pub const MAX_WEIGHT: i64 = 1_000_000;

/// The most backends of a split.
pub const MAX_BACKENDS: usize = 100;

/// A split as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was written.
    pub updated_at: SystemTime,
    /// What the mesh does with it. Its version goes up with each write of the Service, also across deletions; from 1.
    pub split: Arc<Split>,
}

/// The API's form of a split.
fn to_api(record: &Record, rollout: api::Rollout) -> api::Split {
    api::Split {
        namespace: record.split.service.namespace.to_string(),
        service: record.split.service.name.to_string(),
        version: record.split.version,
        backends: record.split.backends.iter().map(to_api_backend).collect(),
        updated_at: humantime::format_rfc3339_millis(record.updated_at).to_string(),
        rollout: Some(rollout),
    }
}

fn to_api_backend(backend: &SplitBackend) -> api::Backend {
    api::Backend {
        service: backend.service.to_string(),
        port: backend.port.map_or(0, u32::from),
        weight: i64::from(backend.weight),
    }
}
