//! The cluster that is built here: real processes in a [`World`], into which trials may reach.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, DeleteParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use weft_cli::world::{self, Netns, Process, World, wait_until};

use super::certificates::Certificates;
use super::cluster::READY;
use super::components::{self, API_SERVICE, HOST, NODE, Places};
use super::image::{self, Images, succeed};
use super::node;

/// A cluster of one node. It goes with its world.
pub struct Built {
    world: World,
    places: Places,
    client: Client,
    api_server: Mutex<Process>,
    /// Whatever else runs; killed when dropped.
    _processes: Vec<Process>,
}

impl Built {
    /// Starts everything and waits until the node is ready. Must be called on a thread inside the world's switch.
    pub(super) async fn start(world: World, programs: &Path) -> Result<Self> {
        let places = places(&world, programs)?;
        prepare_network().await?;
        let start = |name: &str, mut command: Command| world.start_process(world.switch(), name, &mut command);
        let etcd = start("etcd", components::etcd(&places))?;
        let api_server = start("kube-apiserver", components::api_server(&places)?)?;
        let containerd = start("containerd", node::containerd(&places, image::PAUSE)?)?;
        wait_until("containerd", READY, async || {
            ensure!(node::socket(&places).exists(), "its socket is not there");
            Ok(())
        })
        .await?;
        let images = async { image::import(&places).await.context("make the images that pods run") };
        let client = client(&places).await?;
        let cluster = async {
            api_server_ready(&client).await?;
            let others = [
                start("kube-controller-manager", components::controller_manager(&places))?,
                start("kube-scheduler", components::scheduler(&places))?,
                start("kube-proxy", components::service_proxy(&places)?)?,
                start("dns", components::dns(&places)?)?,
                start("kubelet", node::kubelet(&places)?)?,
            ];
            node_ready(&client).await?;
            anyhow::Ok(others)
        };
        let ((), others) = tokio::try_join!(images, cluster)?;
        let processes = others.into_iter().chain([etcd, containerd]).collect();
        Ok(Self { world, places, client, api_server: Mutex::new(api_server), _processes: processes })
    }

    /// Lines for the shell: into the cluster's namespaces, with `kubectl` and `helm` on the path, and how trials run on the cluster.
    pub(super) fn how_to_enter(&self, images: &Images) -> String {
        let (kubeconfig, (repository, tag)) = (self.kubeconfig(), &images.weft);
        let (kubeconfig, programs) = (kubeconfig.display(), self.places.programs.display());
        format!(
            "==> as root: nsenter --all --target $(pgrep -n kube-apiserver) env KUBECONFIG={kubeconfig} \
             PATH={programs}:$PATH bash\n\
             ==> the trials on it, as root: nsenter --net=/proc/$(pgrep -n kube-apiserver)/ns/net env \
             KUBECONFIG={kubeconfig} WEFT_IMAGE={repository}:{tag} make test-kube"
        )
    }

    /// The world that the cluster is in.
    pub fn world(&self) -> &World {
        &self.world
    }

    pub(super) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The path of a kubeconfig by which one may do everything.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.places.kubeconfig()
    }

    /// A handle on a running pod of the cluster, for clients and applications of this process inside of it.
    ///
    /// # Errors
    /// Where none of its processes is found.
    pub async fn enter(&self, namespace: &str, name: &str) -> Result<world::Pod> {
        let pod = self.pods(namespace).get(name).await?;
        let uid = pod.metadata.uid.context("the pod has no uid")?;
        let address = pod.status.and_then(|status| status.pod_ip).context("the pod has no address")?;
        let process = *processes_of(&uid)?.first().context("none of its processes is found")?;
        self.world.adopt(Netns::of_process(process)?, namespace, name, address.parse()?)
    }

    /// Kills every process of a pod at once (SIGKILL), as when its node loses power, and deletes the pod.
    ///
    /// # Errors
    /// Where there is no such pod.
    pub async fn kill(&self, namespace: &str, name: &str) -> Result<()> {
        let pods = self.pods(namespace);
        let uid = pods.get(name).await?.metadata.uid.context("the pod has no uid")?;
        for id in processes_of(&uid)? {
            // It may be gone with another one.
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
        Ok(pods.delete(name, &DeleteParams::default().grace_period(0)).await.map(drop)?)
    }

    /// Ends the API server at once.
    ///
    /// # Errors
    /// Where the kernel does not end it.
    pub async fn stop_api_server(&self) -> Result<()> {
        let running = self.api_server.lock().clone();
        running.kill().await
    }

    /// Starts the API server (again), over the same state, and waits until it answers.
    ///
    /// # Errors
    /// Where it does not become ready.
    pub async fn start_api_server(&self) -> Result<()> {
        let mut command = components::api_server(&self.places)?;
        let started = self.world.start_process(self.world.switch(), "kube-apiserver", &mut command)?;
        *self.api_server.lock() = started;
        api_server_ready(&self.client).await
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client(), namespace)
    }
}

fn places(world: &World, programs: &Path) -> Result<Places> {
    let folder = world.folder().join("kube");
    std::fs::create_dir_all(&folder)?;
    let addresses: Vec<IpAddr> =
        [HOST, API_SERVICE, [127, 0, 0, 1]].into_iter().map(|octets| Ipv4Addr::from(octets).into()).collect();
    Ok(Places { programs: programs.to_owned(), certificates: Certificates::create(&folder, &addresses)?, folder })
}

/// The switch must have a route to Services for kube-proxy's rules to find what they redirect.
async fn prepare_network() -> Result<()> {
    let route = format!("route replace 10.96.0.0/16 dev {}", world::BRIDGE);
    for arguments in ["route del unreachable 10.96.0.0/16", &route] {
        succeed(tokio::process::Command::new("ip").args(arguments.split(' '))).await?;
    }
    Ok(())
}

async fn client(places: &Places) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(places.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

async fn api_server_ready(client: &Client) -> Result<()> {
    wait_until("the API server", READY, async || {
        let request = http::Request::get("/readyz").body(Vec::new())?;
        Ok(client.request_text(request).await?)
    })
    .await?;
    Ok(())
}

async fn node_ready(client: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    wait_until("the kubelet's node", READY, async || {
        let node = nodes.get(NODE).await?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        ensure!(ready, "it is not ready: {conditions:?}");
        Ok(())
    })
    .await
}

/// The processes of the pod with this uid: their cgroups' paths name it.
fn processes_of(uid: &str) -> Result<Vec<i32>> {
    let processes = std::fs::read_dir("/proc").context("cannot read /proc")?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let of_pod = |id: &i32| std::fs::read_to_string(format!("/proc/{id}/cgroup")).is_ok_and(|text| text.contains(uid));
    Ok(ids.filter(of_pod).collect())
}
