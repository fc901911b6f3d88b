//! The mesh as manifests: Services, each with ten pods, of which the first have the simulated proxies.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;
use weft_api::names::ServicePort;

/// The zones that a Service's pods are in, in turn.
const ZONES: [&str; 3] = ["a", "b", "c"];
/// The namespace of everything.
pub(crate) const NAMESPACE: &str = "scale";
/// The port of every Service.
pub(crate) const PORT: u16 = 80;
/// Endpoints of a Service.
pub(crate) const ENDPOINTS: u32 = 10;
/// What the pods listen on.
const TARGET: u16 = 8080;

/// The folder, and what it says.
#[derive(Debug)]
pub(crate) struct Mesh {
    folder: TempDir,
    /// For each Service, how often each of its pods was replaced.
    generations: Vec<[u32; ENDPOINTS as usize]>,
    /// Addresses that were given out.
    addresses: u32,
    pods: Vec<[Ipv4Addr; ENDPOINTS as usize]>,
}

impl Mesh {
    /// Writes the manifests of so many Services.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub(crate) fn create(services: u32) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("weft-scale-").tempdir().context("cannot make a folder")?;
        for name in ["registry", "state", "drafts"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let (generations, pods) = (Vec::new(), Vec::new());
        let mut mesh = Self { folder, generations, addresses: 0, pods };
        for service in 0..services {
            mesh.generations.push([0; ENDPOINTS as usize]);
            let pods = std::array::from_fn(|_| mesh.next_address());
            mesh.pods.push(pods);
            mesh.write(&format!("service-{service}.yaml"), &service_manifest(service))?;
            mesh.write_pods(service)?;
        }
        Ok(mesh)
    }

    /// The folder of manifests.
    pub(crate) fn registry(&self) -> PathBuf {
        self.folder.path().join("registry")
    }

    /// A folder for the control plane's own state.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// A file for the control plane's log.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("control.log")
    }

    /// The trust bundle that the control plane writes.
    pub(crate) fn bundle(&self) -> PathBuf {
        self.state().join("trust-bundle.pem")
    }

    /// The name of the pod that has a place among a Service's pods now.
    pub(crate) fn pod(&self, service: u32, pod: u32) -> String {
        let generations = self.generations.get(service as usize).and_then(|pods| pods.get(pod as usize));
        pod_name(service, pod, generations.copied().unwrap_or_default())
    }

    /// The address that the next pod has.
    pub(crate) fn upcoming(&self) -> String {
        address(self.addresses).to_string()
    }

    /// Replaces a pod by a new one with another name and address, as a rollout does.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub(crate) fn replace(&mut self, service: u32, pod: u32) -> Result<()> {
        let address = self.next_address();
        let (of, pod) = (service as usize, pod as usize);
        if let Some(known) = self.pods.get_mut(of).and_then(|pods| pods.get_mut(pod)) {
            *known = address;
        }
        if let Some(generation) = self.generations.get_mut(of).and_then(|pods| pods.get_mut(pod)) {
            *generation += 1;
        }
        self.write_pods(service)
    }

    fn next_address(&mut self) -> Ipv4Addr {
        self.addresses += 1;
        address(self.addresses - 1)
    }

    /// A Service's pods and its EndpointSlice, in one file: a change is whole or not there.
    fn write_pods(&self, service: u32) -> Result<()> {
        let (Some(addresses), Some(generations)) =
            (self.pods.get(service as usize), self.generations.get(service as usize))
        else {
            return Ok(());
        };
        let mut slice = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {{name: s{service}-1, namespace: \
             {NAMESPACE}, labels: {{kubernetes.io/service-name: s{service}}}}}\naddressType: IPv4\n\
             ports: [{{name: http, port: {TARGET}}}]\nendpoints:\n"
        );
        let mut pods = String::new();
        for ((number, address), generation) in (0..).zip(addresses).zip(generations) {
            let (name, zone) =
                (pod_name(service, number, *generation), ZONES.into_iter().cycle().nth(number as usize).unwrap_or("a"));
            let node = (service + number) % 200;
            let _ = writeln!(
                slice,
                "- {{addresses: [{address}], conditions: {{ready: true, serving: true, terminating: false}}, \
                 nodeName: node-{node}, zone: {zone}, targetRef: {{kind: Pod, name: {name}, namespace: {NAMESPACE}}}}}"
            );
            let _ = write!(
                pods,
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {NAMESPACE}, labels: {{app: \
                 s{service}, weft.dev/inject: enabled}}}}\nspec: {{serviceAccountName: s{service}, nodeName: \
                 node-{node}, containers: [{{name: app, ports: [{{name: http, containerPort: {TARGET}}}]}}]}}\n\
                 status: {{podIP: {address}}}\n"
            );
        }
        self.write(&format!("workload-{service}.yaml"), &(slice + &pods))
    }

    /// Whole or not at all: a draft elsewhere, then a rename.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        write(&self.folder.path().join("drafts"), &self.registry(), name, text)
    }
}

/// Writes a file by way of a draft in another folder of the same file system.
///
/// # Errors
/// Where one of the folders cannot be written.
pub(crate) fn write(drafts: &Path, folder: &Path, name: &str, text: &str) -> Result<()> {
    let (draft, path) = (drafts.join(name), folder.join(name));
    let written = std::fs::write(&draft, text).and_then(|()| std::fs::rename(&draft, &path));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// The cluster IP of a Service.
pub(crate) fn service_address(service: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + service)
}

/// The name of a Service's routes, cluster and endpoints.
pub(crate) fn service_name(service: u32) -> String {
    let (namespace, service) = (NAMESPACE.to_owned(), format!("s{service}"));
    ServicePort { namespace, service, port: PORT }.to_string()
}

/// The Service that has such a name.
pub(crate) fn service_number(name: &str) -> Option<u32> {
    let name: ServicePort = name.parse().ok()?;
    name.service.strip_prefix('s')?.parse().ok()
}

/// The name of the pod that takes a place among a Service's pods after so many others.
fn pod_name(service: u32, pod: u32, generation: u32) -> String {
    format!("s{service}-{pod}-{generation}")
}

/// The ServiceAccount of a Service's pods.
pub(crate) fn account(service: u32) -> String {
    format!("s{service}")
}

/// The join token of that.
pub(crate) fn token(service: u32) -> String {
    format!("token-of-s{service}")
}

/// Of the pod with this number, among all that ever were.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 128, 0, 1)) + number)
}

fn service_manifest(service: u32) -> String {
    let (ip, account, token) = (service_address(service), account(service), token(service));
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{service}, namespace: {NAMESPACE}}}\nspec: {{clusterIP: \
         {ip}, ports: [{{name: http, port: {PORT}, targetPort: {TARGET}, appProtocol: http}}]}}\n---\n\
         apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {account}, namespace: {NAMESPACE}}}\n---\n\
         apiVersion: v1\nkind: Secret\ntype: kubernetes.io/service-account-token\nmetadata: {{name: {account}-token, \
         namespace: {NAMESPACE}, annotations: {{kubernetes.io/service-account.name: {account}}}}}\n\
         stringData: {{token: {token}}}\n"
    )
}
