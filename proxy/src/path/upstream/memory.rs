//! What one worker keeps of a cluster and of each of its endpoints once it has sent something there, in bytes of the heap:
//! docs/performance.md has these figures.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::PickBy;
use super::testing::{World, endpoint};
use crate::discovery::{Cluster, ClusterPolicy, Endpoints};

/// What a worker keeps of a cluster with so many endpoints, in bytes.
fn bytes(world: &World, endpoints: u16) -> i64 {
    let all = (1..=endpoints).map(|port| Arc::new(endpoint(port))).collect();
    let cluster = Arc::new(Cluster::new("shop/api:8080".into(), Arc::new(ClusterPolicy::default()), Endpoints { all }));
    let mut kept = None;
    let counted = allocation_counter::measure(|| {
        let state = world.upstreams.cluster(&cluster);
        drop(state.pick(&world.upstreams, &PickBy { hash: None, session: None, tried: &[] }, Instant::now()));
        kept = Some(Rc::clone(&state));
    });
    assert!(kept.is_some());
    counted.bytes_current
}

#[test]
fn a_workers_state_is_small() {
    let world = World::new();
    // The first one makes room for more.
    bytes(&world, 1);
    let (one, many) = (bytes(&world, 1), bytes(&world, 1001));
    let endpoint = (many - one) / 1000;
    let said = format!("a cluster with one endpoint: {one} bytes, an endpoint: {endpoint}");
    assert!(one <= 1024 && endpoint <= 384, "{said}");
}
