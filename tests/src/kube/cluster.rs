//! The cluster: started once, shared by the trials of a program.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DynamicObject};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::OnceCell;
use weft_cli::world::{self, Netns, Process, World, wait_until};

use super::certificates::Certificates;
use super::components::{self, API_SERVICE, HOST, NODE, Places};
use super::image::{self, succeed};
use super::{mesh, node};

const READY: Duration = Duration::from_secs(90);

/// A cluster of one node. It goes with its world.
pub struct Cluster {
    world: World,
    places: Places,
    client: Client,
    api_server: Mutex<Process>,
    /// Whether Weft is installed, or why it could not be.
    mesh: OnceCell<Result<(), String>>,
    /// Whatever else runs; killed when dropped.
    _processes: Vec<Process>,
}

impl Cluster {
    /// Starts everything and waits until the node is ready. Must be called on a thread inside the world's switch.
    ///
    /// # Errors
    /// Where a program is missing or does not become ready; with the logs' ends.
    pub async fn start(world: World) -> Result<Self> {
        let places = places(&world)?;
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
        Ok(Self {
            world,
            places,
            client,
            api_server: Mutex::new(api_server),
            mesh: OnceCell::new(),
            _processes: processes,
        })
    }

    /// Installs the Gateway API and Weft, unless that has been done.
    ///
    /// # Errors
    /// Where it does not become ready; with what the cluster says.
    pub async fn meshed(&self) -> Result<()> {
        let install = async || mesh::install(self).await.map_err(|error| format!("{error:?}"));
        self.mesh.get_or_init(install).await.clone().map_err(anyhow::Error::msg)
    }

    /// Installs the Gateway API's definitions.
    ///
    /// # Errors
    /// Where the API server refuses them.
    pub async fn gateway_api(&self) -> Result<()> {
        let definitions = self.programs().join("gateway-api/config/crd/experimental");
        let path = definitions.to_str().context("a path that is not UTF-8")?;
        let applied = self.kubectl(["apply", "--server-side", "-k", path]).await;
        applied.context("install the Gateway API").map(drop)
    }

    /// How the pods are, and what the control plane logged last.
    pub(super) async fn pods_and_logs(&self) -> String {
        let pods = self.kubectl(["get", "pods", "-A", "-o", "wide"]).await;
        let selector = "app.kubernetes.io/name=weft-control";
        let logs = ["logs", "-n", mesh::SYSTEM_NAMESPACE, "-l", selector, "--tail=25", "--prefix"];
        let logs = self.kubectl(logs).await;
        [pods, logs].map(|said| said.unwrap_or_else(|error| error.to_string())).join("\n")
    }

    /// A line for the shell that leads into the cluster's namespaces, with `kubectl` and `helm` on the path.
    pub fn how_to_enter(&self) -> String {
        format!(
            "==> as root: nsenter --all --target $(pgrep -n kube-apiserver) env KUBECONFIG={} PATH={}:$PATH bash",
            self.kubeconfig().display(),
            self.programs().display()
        )
    }

    /// The world that the cluster is in.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// A client that may do everything. It must be used on a thread inside the world's switch.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The path of a kubeconfig by which one may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.places.kubeconfig()
    }

    /// The folder with the cluster's programs, and with the Gateway API's files in `gateway-api`.
    pub fn programs(&self) -> &Path {
        &self.places.programs
    }

    /// Runs `kubectl`; gives what it prints.
    ///
    /// # Errors
    /// Where it fails; with what it says.
    pub async fn kubectl<const N: usize>(&self, arguments: [&str; N]) -> Result<String> {
        succeed(self.command("kubectl").args(arguments)).await
    }

    /// Applies manifests, YAML, by server-side apply.
    ///
    /// # Errors
    /// Where the API server or a webhook refuses; with what it says.
    pub async fn apply(&self, yaml: &str) -> Result<String> {
        let mut command = self.command("kubectl");
        command.args(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::piped()).spawn().context("cannot start kubectl")?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        input.write_all(yaml.as_bytes()).await?;
        drop(input);
        let output = child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "kubectl apply: {said}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned() + &said)
    }

    /// Runs `helm`; gives what it prints.
    ///
    /// # Errors
    /// Where it fails; with what it says.
    pub async fn helm<const N: usize>(&self, arguments: [&str; N]) -> Result<String> {
        succeed(self.command("helm").args(arguments)).await
    }

    /// Runs a command in a container; gives what it prints.
    ///
    /// # Errors
    /// Where it fails; with what it says.
    pub async fn exec<const N: usize>(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        command: [&str; N],
    ) -> Result<String> {
        let mut kubectl = self.command("kubectl");
        kubectl.args(["exec", "-n", namespace, pod, "-c", container, "--"]).args(command);
        succeed(&mut kubectl).await
    }

    /// A command that knows the cluster by its environment: `kubectl`, `helm`, or the path of another program.
    pub fn command(&self, program: &str) -> tokio::process::Command {
        let path = if program.contains('/') { program.into() } else { self.places.programs.join(program) };
        let mut command = tokio::process::Command::new(path);
        let search = format!("{}:{}", self.programs().display(), std::env::var("PATH").unwrap_or_default());
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.places.folder).env("PATH", search);
        command.kill_on_drop(true);
        command
    }

    /// Waits until a pod is ready; gives it.
    ///
    /// # Errors
    /// Where it is not within a minute and a half; with what the cluster says of it.
    pub async fn pod_ready(&self, namespace: &str, name: &str) -> Result<Pod> {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let waited = wait_until("a pod to be ready", READY, async || {
            let pod = pods.get(name).await?;
            ensure!(is_ready(&pod), "{namespace}/{name} is not ready");
            Ok(pod)
        })
        .await;
        match waited {
            Ok(pod) => Ok(pod),
            Err(error) => {
                let said = self.kubectl(["describe", "pod", "-n", namespace, name]).await;
                let logs = self.kubectl(["logs", "-n", namespace, name, "--all-containers", "--tail=20"]).await;
                Err(error.context(format!("{}\n{}", said.unwrap_or_default(), logs.unwrap_or_default())))
            }
        }
    }

    /// A handle on a running pod of the cluster, for clients and applications of this process inside of it.
    ///
    /// # Errors
    /// Where none of its processes is found.
    pub async fn enter(&self, namespace: &str, name: &str) -> Result<world::Pod> {
        let pod = Api::<Pod>::namespaced(self.client(), namespace).get(name).await?;
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
        let pod = Api::<Pod>::namespaced(self.client(), namespace).get(name).await?;
        let uid = pod.metadata.uid.context("the pod has no uid")?;
        for id in processes_of(&uid)? {
            // It may be gone with another one.
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
        self.kubectl(["delete", "pod", "-n", namespace, name, "--grace-period=0", "--force"]).await.map(drop)
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

    /// Makes a namespace with the service account `default`.
    ///
    /// # Errors
    /// Where the controller manager does not make the account.
    pub async fn namespace(&self, name: &str, labels: &str) -> Result<()> {
        let yaml = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n");
        self.apply(&yaml).await?;
        let accounts: Api<k8s_openapi::api::core::v1::ServiceAccount> = Api::namespaced(self.client(), name);
        wait_until("the service account `default`", READY, async || Ok(accounts.get("default").await?)).await?;
        Ok(())
    }

    /// Any object, by its kind.
    ///
    /// # Errors
    /// Where the API server doesn't have it.
    pub async fn get(&self, version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Result<DynamicObject> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let resource = kube::core::GroupVersionKind::gvk(group, version, kind);
        let (resource, _) = kube::discovery::pinned_kind(&self.client, &resource).await?;
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client(), namespace, &resource),
            None => Api::all_with(self.client(), &resource),
        };
        Ok(api.get(name).await?)
    }
}

/// Whether a pod says that it is ready.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let going = pod.metadata.deletion_timestamp.is_some();
    !going && conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn places(world: &World) -> Result<Places> {
    let Some(programs) = std::env::var_os("WEFT_KUBE") else {
        bail!("WEFT_KUBE is not set; it names the folder that tests/kube/build prints: run `make test-kube`");
    };
    let folder = world.folder().join("kube");
    std::fs::create_dir_all(&folder)?;
    let addresses: Vec<IpAddr> =
        [HOST, API_SERVICE, [127, 0, 0, 1]].into_iter().map(|octets| Ipv4Addr::from(octets).into()).collect();
    Ok(Places { programs: programs.into(), certificates: Certificates::create(&folder, &addresses)?, folder })
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
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
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
