//! The node: containerd and kubelet, over runc, with whatever cgroups this machine has.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::components::{HOST, NODE, Places};

const CGROUPS: &str = "/sys/fs/cgroup";
/// How the folders of our cgroups begin; the process id follows.
const CGROUP: &str = "weft-test-";

/// Writes the configuration of containerd, and says how it is started.
pub(super) fn containerd(places: &Places, pause_image: &str) -> Result<Command> {
    ensure!(
        in_path("runc"),
        "there is no runc, which a node needs. As root: apt-get install --no-install-recommends runc"
    );
    let (folder, programs) = (places.folder.display(), places.programs.display());
    let snapshotter = snapshotter(&places.folder);
    let cni = places.folder.join("cni");
    std::fs::create_dir_all(&cni).context("cannot make a folder")?;
    let network = format!(
        r#"{{"cniVersion": "1.0.0", "name": "pods", "plugins": [{{"type": "ptp", "ipMasq": false, "ipam": {{"type": "host-local",
"ranges": [[{{"subnet": "10.2.0.0/16"}}]], "routes": [{{"dst": "0.0.0.0/0"}}], "dataDir": "{folder}/addresses"}}}}]}}"#
    );
    places.write("cni/10-pods.conflist", &network)?;
    // The node's processes may have fewer rights than a container's usual ones ask for: no AppArmor, no lower OOM score.
    let configuration = format!(
        r#"version = 3
root = "{folder}/containerd"
state = "{folder}/containerd-state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{socket}"
[plugins."io.containerd.cri.v1.images"]
snapshotter = "{snapshotter}"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause_image}"
[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{programs}"]
conf_dir = "{cni}"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
SystemdCgroup = false
"#,
        socket = socket(places).display(),
        cni = cni.display(),
    );
    let mut command = places.command("containerd");
    command.arg("--config").arg(places.write("containerd.toml", &configuration)?);
    command.env("PATH", path_with(&places.programs));
    Ok(command)
}

/// Writes the configuration of the kubelet, and says how it is started.
pub(super) fn kubelet(places: &Places) -> Result<Command> {
    let cgroup = make_cgroup()?;
    let [a, b, c, d] = HOST;
    let (folder, socket) = (places.folder.display(), socket(places));
    let configuration = format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1\n\
         kind: KubeletConfiguration\n\
         authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}\n\
         authorization: {{mode: AlwaysAllow}}\n\
         cgroupDriver: cgroupfs\n\
         cgroupRoot: /{cgroup}\n\
         enforceNodeAllocatable: []\n\
         failCgroupV1: false\n\
         failSwapOn: false\n\
         containerRuntimeEndpoint: unix://{socket}\n\
         evictionHard: {{memory.available: 1Mi, nodefs.available: 0%, imagefs.available: 0%, nodefs.inodesFree: 0%}}\n\
         localStorageCapacityIsolation: false\n\
         imageGCHighThresholdPercent: 100\n\
         serializeImagePulls: false\n\
         resolvConf: ''\n\
         clusterDNS: [{a}.{b}.{c}.{d}]\n\
         clusterDomain: cluster.local\n\
         volumePluginDir: {folder}/volume-plugins\n\
         podLogsDir: {folder}/pod-logs\n\
         nodeStatusUpdateFrequency: 5s\n",
        socket = socket.display(),
    );
    let mut command = places.command("kubelet");
    command
        .arg("--config")
        .arg(places.write("kubelet.yaml", &configuration)?)
        .arg("--kubeconfig")
        .arg(places.kubeconfig())
        .arg("--root-dir")
        .arg(places.folder.join("kubelet"))
        .arg(format!("--hostname-override={NODE}"))
        .arg(format!("--node-ip={a}.{b}.{c}.{d}"))
        .env("PATH", path_with(&places.programs));
    Ok(command)
}

/// containerd's socket.
pub(super) fn socket(places: &Places) -> PathBuf {
    places.folder.join("containerd.sock")
}

/// The cgroups that tests have left behind are empty once their processes are gone: takes them away.
pub(super) fn remove_cgroups() {
    let hierarchies = std::fs::read_dir(CGROUPS).into_iter().flatten().flatten().map(|entry| entry.path());
    for hierarchy in hierarchies.chain([PathBuf::from(CGROUPS)]) {
        let ours = std::fs::read_dir(hierarchy).into_iter().flatten().flatten();
        for entry in ours.filter(|entry| entry.file_name().to_string_lossy().starts_with(CGROUP)) {
            remove_cgroup(&entry.path());
        }
    }
}

/// From the leaves up; one with processes in it stays.
fn remove_cgroup(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    drop(std::fs::remove_dir(folder));
}

/// A cgroup of our own in every hierarchy: one with version 2, several with version 1.
fn make_cgroup() -> Result<String> {
    let name = format!("{CGROUP}{}", rand::random::<u32>());
    let unified = Path::new(CGROUPS).join("cgroup.controllers");
    if unified.is_file() {
        let made = Path::new(CGROUPS).join(&name);
        // Where these can't be handed on, the kubelet says which are missing.
        drop(std::fs::write(Path::new(CGROUPS).join("cgroup.subtree_control"), "+cpu +memory +pids +cpuset +io"));
        return std::fs::create_dir(&made).with_context(|| format!("cannot make {}", made.display())).map(|()| name);
    }
    let mut made = 0;
    for hierarchy in std::fs::read_dir(CGROUPS).with_context(|| format!("cannot read {CGROUPS}"))? {
        let hierarchy = hierarchy?.path();
        if !hierarchy.join("cgroup.procs").is_file() || hierarchy.join("cgroup.controllers").is_file() {
            continue;
        }
        let folder = hierarchy.join(&name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(all) = std::fs::read(hierarchy.join(file)) {
                std::fs::write(folder.join(file), all)?;
            }
        }
        made += 1;
    }
    ensure!(made > 0, "there are no cgroups in {CGROUPS}, which a kubelet needs");
    Ok(name)
}

/// Overlays where the file system can carry them, else plain copies.
fn snapshotter(folder: &Path) -> &'static str {
    let carried = || -> Result<()> {
        let layers = tempfile::Builder::new().prefix("overlay-").tempdir_in(folder)?;
        for name in ["lower", "upper", "work", "merged"] {
            std::fs::create_dir(layers.path().join(name))?;
        }
        let at = |name: &str| layers.path().join(name).display().to_string();
        let options = format!("lowerdir={},upperdir={},workdir={}", at("lower"), at("upper"), at("work"));
        let merged = layers.path().join("merged");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("overlay"), &merged, Some("overlay"), flags, Some(options.as_str()))?;
        Ok(nix::mount::umount(&merged)?)
    };
    if carried().is_ok() { "overlayfs" } else { "native" }
}

fn path_with(programs: &Path) -> String {
    format!("{}:{}:/usr/sbin:/sbin", programs.display(), std::env::var("PATH").unwrap_or_default())
}

fn in_path(program: &str) -> bool {
    let path = path_with(Path::new("/usr/local/sbin"));
    path.split(':').any(|folder| Path::new(folder).join(program).is_file())
}
