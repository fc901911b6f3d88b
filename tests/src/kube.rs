//! A real Kubernetes cluster, built here or there already.
//!
//! ```text
//! KUBECONFIG is not set: a cluster of one node, inside a `World`
//!  the world's switch (a network namespace): etcd, kube-apiserver, kube-controller-manager, kube-scheduler, DNS, kube-proxy,
//!  │                                         containerd and kubelet, all of them real, built by `tests/kube/build`
//!  ├─ 10.2.0.0/16  the cluster's pods: containers of runc, each in its network namespace, laid by the CNI plugin `ptp`
//!  └─ 10.1.0.0/16  the world's own pods, outside of the cluster
//!
//! KUBECONFIG is set: the cluster that it names, from outside, through its API server alone
//! ```
//!
//! In the first, Services are at 10.96.0.0/16. Weft is installed by its chart, with an image that is made of the programs under test.
//! Tests run on a thread inside the switch, so `kube`, `kubectl` and `helm` reach the API server at 10.1.0.1:6443, and each pod at
//! its address. Everything goes with the world, but for empty cgroups, which [`run`] takes away.
//!
//! In the second, every program has a copy of the context that was the current one when the run began, and [`run`] takes away what was
//! made. What a trial needs beside an API server it asks [`Cluster::built`] for, and is not possible where there is none.

mod built;
mod certificates;
mod cluster;
mod components;
mod existing;
mod image;
mod mesh;
mod node;
mod stage;
mod suite;

pub use self::built::Built;
pub use self::cluster::{Cluster, NotPossible, Stream};
pub use self::existing::of_weft;
pub use self::mesh::{Helm, Mesh, RELEASE, SYSTEM_NAMESPACE};
pub use self::suite::{Suite, run};
