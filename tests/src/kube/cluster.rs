//! What a cluster is to the trials, whichever way there is one: an API server, `kubectl`, `helm` and `weft`, images, pods.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Client;
use kube::api::Api;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::sync::OnceCell;
use weft_cli::world::{World, control_program, wait_until};

use super::built::Built;
use super::existing::{Existing, NAMESPACES};
use super::image::{Images, succeed};
use super::mesh;

/// How long something of the cluster may take to become ready.
pub(super) const READY: Duration = Duration::from_secs(90);

/// A cluster, shared by the trials of a program.
pub struct Cluster {
    way: Way,
    client: Client,
    images: Images,
    /// The programs that `tests/kube/build` has built.
    programs: PathBuf,
    folder: PathBuf,
    /// Whether Weft is installed, or why it could not be.
    mesh: OnceCell<Result<(), String>>,
}

/// Where the cluster comes from.
enum Way {
    Built(Box<Built>),
    Existing(Existing),
}

/// Why a trial can't be made on a cluster that was there already.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotPossible(&'static str);

/// Both directions of a forwarded port.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Cluster {
    /// Builds a cluster inside a world. Must be called on a thread inside the world's switch.
    ///
    /// # Errors
    /// Where a program is missing or does not become ready; with the logs' ends.
    pub(super) async fn build(world: World) -> Result<Self> {
        let (folder, programs) = (world.folder().to_owned(), programs()?);
        let built = Built::start(world, &programs).await?;
        let (client, images) = (built.client(), Images::of_built());
        Ok(Self { way: Way::Built(Box::new(built)), client, images, programs, folder, mesh: OnceCell::new() })
    }

    /// Takes the cluster that `KUBECONFIG` names, and says which one that is. A file in `folder` has its context from then on.
    ///
    /// # Errors
    /// Where it does not answer, or can't be used; with what to do about it.
    pub(super) async fn take(folder: &Path) -> Result<Self> {
        let (images, programs) = (Images::of_environment()?, programs()?);
        let (existing, client) = Existing::look(folder, &programs).await?;
        let (way, folder) = (Way::Existing(existing), folder.to_owned());
        Ok(Self { way, client, images, programs, folder, mesh: OnceCell::new() })
    }

    /// The cluster's own processes and networks. A trial that needs them asks for them first of all.
    ///
    /// # Errors
    /// [`NotPossible`] on a cluster that was there already.
    pub fn built(&self) -> Result<&Built> {
        match &self.way {
            Way::Built(built) => Ok(built),
            Way::Existing(_) => Err(NotPossible("it reaches into the node's processes and networks").into()),
        }
    }

    /// Makes sure that the definitions of the Gateway API may be taken away, for a while.
    ///
    /// # Errors
    /// [`NotPossible`] where they were there before.
    pub fn may_take_definitions_away(&self) -> Result<()> {
        match &self.way {
            Way::Existing(existing) if existing.had_gateway_api() => {
                Err(NotPossible("it takes away definitions of the Gateway API, which the cluster had before").into())
            }
            _ => Ok(()),
        }
    }

    /// Takes away all that was made in a cluster that was there already. (One that was built goes as a whole.)
    pub(super) async fn clear(&self) -> Result<()> {
        match &self.way {
            Way::Built(_) => Ok(()),
            Way::Existing(existing) => existing.take_away(self).await,
        }
    }

    /// Installs the Gateway API and Weft, unless that has been done.
    ///
    /// # Errors
    /// Where it does not become ready; with what the cluster says.
    pub async fn meshed(&self) -> Result<()> {
        let install = async || mesh::install(self).await.map_err(|error| format!("{error:?}"));
        self.mesh.get_or_init(install).await.clone().map_err(anyhow::Error::msg)
    }

    /// Installs the Gateway API's definitions, unless they came with the cluster.
    ///
    /// # Errors
    /// Where the API server refuses them.
    pub async fn gateway_api(&self) -> Result<()> {
        if let Way::Existing(existing) = &self.way {
            if existing.had_gateway_api() {
                return Ok(());
            }
            existing.brings_gateway_api();
        }
        let path = self.gateway_api_folder();
        let applied = succeed(self.command("kubectl").args(["apply", "--server-side", "-k"]).arg(path)).await;
        applied.context("install the Gateway API").map(drop)
    }

    pub(super) fn gateway_api_folder(&self) -> PathBuf {
        self.programs.join("gateway-api/config/crd/experimental")
    }

    /// How the pods are, and what the control plane logged last.
    pub(super) async fn pods_and_logs(&self) -> String {
        let pods = self.kubectl(["get", "pods", "-A", "-o", "wide"]).await;
        let selector = "app.kubernetes.io/name=weft-control";
        let logs = ["logs", "-n", mesh::SYSTEM_NAMESPACE, "-l", selector, "--tail=25", "--prefix"];
        let logs = self.kubectl(logs).await;
        [pods, logs].map(|said| said.unwrap_or_else(|error| error.to_string())).join("\n")
    }

    /// What people type to use the cluster while it is held.
    pub fn how_to_enter(&self) -> String {
        match &self.way {
            Way::Built(built) => built.how_to_enter(&self.images),
            Way::Existing(_) => format!(
                "==> the cluster of KUBECONFIG is held as it is now, until Ctrl-C, or: kill {}",
                std::process::id()
            ),
        }
    }

    /// A folder for files of a run. It goes at its end.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A client that may do everything. It must be used on the thread of the trials.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The folder with the programs, and with the Gateway API's files in `gateway-api`.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The repository and the tag of Weft's image in the cluster.
    pub fn weft_image(&self) -> (&str, &str) {
        (&self.images.weft.0, &self.images.weft.1)
    }

    /// The name of the image of an application, `echo` or `standin`.
    pub fn image(&self, application: &str) -> String {
        self.images.application(application)
    }

    fn kubeconfig(&self) -> PathBuf {
        match &self.way {
            Way::Built(built) => built.kubeconfig(),
            Way::Existing(existing) => existing.kubeconfig().to_owned(),
        }
    }

    /// A command that knows the cluster by its environment: `kubectl`, `helm`, or the path of another program.
    pub fn command(&self, program: &str) -> Command {
        let path = if program.contains('/') { program.into() } else { self.programs.join(program) };
        let mut command = Command::new(path);
        let search = format!("{}:{}", self.programs.display(), std::env::var("PATH").unwrap_or_default());
        // By such variables `helm` finds another cluster than the kubeconfig's, and `weft` another control plane.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("HELM_") || name.starts_with("WEFT_")) {
                command.env_remove(name);
            }
        }
        command.env("KUBECONFIG", self.kubeconfig()).env("PATH", search).kill_on_drop(true);
        if let Way::Built(_) = self.way {
            // Elsewhere it has what the kubeconfig's own programs log in with.
            command.env("HOME", &self.folder);
        }
        command
    }

    /// Runs `kubectl`; gives what it prints.
    ///
    /// # Errors
    /// Where it fails; with what it says.
    pub async fn kubectl<const N: usize>(&self, arguments: [&str; N]) -> Result<String> {
        succeed(self.command("kubectl").args(arguments)).await
    }

    /// Runs `weft`, the program under test, with nothing but the cluster's kubeconfig; gives what it prints.
    ///
    /// # Errors
    /// Where it fails; with what it says.
    pub async fn weft<const N: usize>(&self, arguments: [&str; N]) -> Result<String> {
        // Not beside weft-proxy: WEFT_PROXY_BIN may name one of another profile.
        let program = control_program()?.with_file_name("weft");
        let program = program.to_str().context("a path that is not UTF-8")?;
        succeed(self.command(program).args(arguments)).await
    }

    /// Runs `kubectl` with manifests, YAML or JSON, as its input; gives what it prints, and what it says beside.
    ///
    /// # Errors
    /// Where the API server or a webhook refuses; with what it says.
    pub async fn feed<const N: usize>(&self, arguments: [&str; N], manifests: &str) -> Result<(String, String)> {
        let mut command = self.command("kubectl");
        command.args(arguments).args(["-f", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot start kubectl")?;
        let mut input = child.stdin.take().context("kubectl has no input")?;
        input.write_all(self.images.name_in(manifests).as_bytes()).await?;
        drop(input);
        let output = child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "kubectl {arguments:?}: {said}");
        Ok((String::from_utf8_lossy(&output.stdout).into_owned(), said))
    }

    /// Applies manifests, YAML, by server-side apply; gives what `kubectl` prints and says.
    ///
    /// # Errors
    /// Where the API server or a webhook refuses; with what it says.
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        let (printed, said) = self.feed(["apply", "--server-side", "--force-conflicts"], manifests).await?;
        Ok(printed + &said)
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

    /// A connection to a port of a pod, through the API server.
    ///
    /// # Errors
    /// Where there is no such pod, or it can't be reached.
    pub async fn forward(&self, namespace: &str, pod: &str, port: u16) -> Result<Box<dyn Stream>> {
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let forwarded = pods.portforward(pod, &[port]).await;
        let mut forwarded = forwarded.with_context(|| format!("forward port {port} of {namespace}/{pod}"))?;
        Ok(Box::new(forwarded.take_stream(port).context("the port was not forwarded")?))
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

    /// Makes a namespace with the service account `default`.
    ///
    /// # Errors
    /// Where the controller manager does not make the account, or nobody would have looked whether the namespace was there before.
    pub async fn namespace(&self, name: &str, labels: &str) -> Result<()> {
        ensure!(NAMESPACES.contains(&name), "{name} is to be listed in NAMESPACES, tests/src/kube/existing.rs");
        let yaml = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n");
        self.apply(&yaml).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), name);
        wait_until("the service account `default`", READY, async || Ok(accounts.get("default").await?)).await?;
        Ok(())
    }
}

/// The folder with the programs that `tests/kube/build` has built.
fn programs() -> Result<PathBuf> {
    let folder = std::env::var_os("WEFT_KUBE").map(PathBuf::from);
    folder.context("WEFT_KUBE is not set; it names the folder that tests/kube/build prints: run `make test-kube`")
}

/// Whether a pod says that it is ready.
fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let going = pod.metadata.deletion_timestamp.is_some();
    !going && conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
