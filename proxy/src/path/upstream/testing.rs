//! A worker's upstreams and clusters for tests.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use weft_certs::authority::Authority;
use weft_certs::identity::WorkloadIdentity;
use weft_certs::key::KeyPair;
use weft_certs::spiffe::{SpiffeId, TrustDomain};

use super::{ClusterState, EndpointState, PickBy, Upstreams};
use crate::discovery::{Cluster, ClusterPolicy, Endpoint, EndpointHealth, Endpoints, Place};
use crate::telemetry::conditions::Conditions;
use crate::telemetry::metrics::Registry;

/// One worker's upstreams, and what it tells.
pub(super) struct World {
    pub(super) upstreams: Upstreams,
    pub(super) conditions: Conditions,
}

impl World {
    pub(super) fn new() -> Self {
        weft_certs::tls::install_provider();
        let conditions = Conditions::default();
        let metrics = Registry::new(conditions.clone()).worker();
        Self { upstreams: Upstreams::new(identity(), None, NonZeroUsize::MIN, metrics, conditions.clone()), conditions }
    }

    /// A cluster that a configuration names for as long as the first of both lives.
    pub(super) fn cluster(&self, policy: ClusterPolicy, endpoints: Vec<Endpoint>) -> (Arc<Cluster>, Rc<ClusterState>) {
        let all = endpoints.into_iter().map(Arc::new).collect();
        let cluster = Arc::new(Cluster::new("shop/api:8080".into(), Arc::new(policy), Endpoints { all }));
        let state = self.upstreams.cluster(&cluster);
        (cluster, state)
    }

    pub(super) fn pick(&self, cluster: &ClusterState, by: &PickBy<'_>) -> Option<Rc<EndpointState>> {
        cluster.pick(&self.upstreams, by, Instant::now())
    }

    /// The last parts of the addresses that so many picks find, sorted, each once.
    pub(super) fn picks(&self, cluster: &ClusterState, by: &PickBy<'_>, count: usize) -> Vec<u16> {
        let mut ports: Vec<u16> =
            (0..count).filter_map(|_| Some(self.pick(cluster, by)?.endpoint.address.port())).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }
}

fn identity() -> WorkloadIdentity {
    let dir = tempfile::tempdir().unwrap();
    let trust_domain: TrustDomain = "cluster.local".parse().unwrap();
    let authority = Authority::load_or_create(dir.path(), &trust_domain).unwrap();
    let id = SpiffeId::new(&trust_domain, "shop", "web").unwrap();
    let key = KeyPair::generate().unwrap();
    let issued = authority.sign(&key.csr_pem().unwrap(), &id, Duration::from_secs(600)).unwrap();
    WorkloadIdentity::from_parts(id, &key, &issued.chain_pem, authority.bundle()).unwrap()
}

/// An endpoint without a sidecar that is told by its port alone.
pub(super) fn endpoint(port: u16) -> Endpoint {
    at(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// An endpoint without a sidecar.
pub(super) fn at(address: SocketAddr) -> Endpoint {
    Endpoint {
        address,
        mesh: None,
        workload: Arc::default(),
        pod: Arc::default(),
        place: Place::default(),
        draining: false,
        health: EndpointHealth::default(),
    }
}
