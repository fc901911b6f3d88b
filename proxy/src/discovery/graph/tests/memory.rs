//! What is kept of the mesh, in bytes of the heap: docs/performance.md has these figures. Beside it, each worker has its own state, for
//! what it has sent requests to: see `path/upstream/memory.rs`.

use weft_api::xds::pb::envoy::config::endpoint::v3::LocalityLbEndpoints;

use super::*;

/// How large a mesh is, as one proxy knows it.
#[derive(Clone, Copy)]
struct Size {
    destinations: u16,
    /// Of each destination.
    routes: u16,
    /// Of each destination.
    endpoints: u16,
}

impl Size {
    /// A world in which everything is published, by names as a cluster has them.
    fn build(self) -> World {
        let mut world = World::new();
        for number in 0..self.destinations {
            let cluster = format!("a-namespace/a-service-{number}:8080");
            let [high, low] = number.to_be_bytes();
            let listener = format!("10.96.{high}.{low}:8080");
            world.want(&listener);
            world.give(&listener, "1", &http_listener(&listener, &cluster));
            let rule = |rule| route(prefix(&format!("/some/path/{rule}")), &[(&cluster, 1)]);
            world.give(&cluster, "1", &routes(&cluster, (0..self.routes).map(rule).collect()));
            world.give(&cluster, "1", &eds_cluster(&cluster));
            let endpoint = |pod: u16| {
                let [hundreds, ones] = pod.to_be_bytes();
                let (address, workload) = (format!("10.{low}.{hundreds}.{ones}"), format!("a-service-{number}"));
                meshed_endpoint(&address, 8080, &workload, &format!("{workload}-5d9c7b4f6d-{pod:05}"))
            };
            let locality = LocalityLbEndpoints {
                lb_endpoints: (0..self.endpoints).map(endpoint).collect(),
                ..LocalityLbEndpoints::default()
            };
            let assignment = xds::ClusterLoadAssignment { endpoints: vec![locality], ..assignment(&cluster, &[]) };
            world.give(&cluster, "1", &assignment);
        }
        let known = world.answers.drain(..).filter(|(_, answer)| matches!(answer, Answer::Known(_))).count();
        assert_eq!(known, usize::from(self.destinations));
        world
    }

    /// What it keeps, in bytes.
    fn bytes(self) -> i64 {
        let mut world = None;
        let counted = allocation_counter::measure(|| world = Some(self.build()));
        drop(world);
        counted.bytes_current
    }
}

#[test]
fn a_mesh_is_kept_small() {
    let few = Size { destinations: 100, routes: 1, endpoints: 1 };
    let base = few.bytes();
    let each = |size: Size, of: i64| (size.bytes() - base) / of;
    let destination = each(Size { destinations: 200, ..few }, 100);
    let route = each(Size { routes: 101, ..few }, 100 * 100);
    let endpoint = each(Size { endpoints: 101, ..few }, 100 * 100);
    let said = format!(
        "a destination with one route and one endpoint: {destination} bytes, a route: {route}, an endpoint: {endpoint}"
    );
    assert!(destination <= 8192 && route <= 1408 && endpoint <= 576, "{said}");
}
