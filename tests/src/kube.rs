//! A real Kubernetes cluster of one node, inside a [`World`](weft_cli::world::World).
//!
//! ```text
//!  the world's switch (a network namespace): etcd, kube-apiserver, kube-controller-manager, kube-scheduler, DNS, kube-proxy,
//!  │                                         containerd and kubelet, all of them real, built by `tests/kube/build`
//!  ├─ 10.2.0.0/16  the cluster's pods: containers of runc, each in its network namespace, laid by the CNI plugin `ptp`
//!  └─ 10.1.0.0/16  the world's own pods, outside of the cluster
//! ```
//!
//! Services are at 10.96.0.0/16. Weft is installed by its chart, with an image that is made of the programs under test. Tests run on a
//! thread inside the switch, so `kube`, `kubectl` and `helm` reach the API server at 10.1.0.1:6443, and each pod at its address.
//! Everything goes with the world, but for empty cgroups, which [`run`] takes away.

mod certificates;
mod cluster;
mod components;
mod image;
mod mesh;
mod node;
mod suite;

pub use self::cluster::Cluster;
pub use self::image::WEFT_IMAGE;
pub use self::mesh::{Mesh, RELEASE, SYSTEM_NAMESPACE};
pub use self::suite::{Suite, run};
