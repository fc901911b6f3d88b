//! The control plane of Kubernetes, and what the node needs beside a kubelet: command lines and files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::certificates::Certificates;

/// Where the API server listens: the world's switch.
pub(super) const HOST: [u8; 4] = [10, 1, 0, 1];
/// The API server's port.
pub(super) const API_PORT: u16 = 6443;
/// The virtual address of the API server, the first of the Services' network.
pub(super) const API_SERVICE: [u8; 4] = [10, 96, 0, 1];
/// The name of the one node.
pub(super) const NODE: &str = "node";
const SERVICES: &str = "10.96.0.0/16";
const ADMIN_TOKEN: &str = "admin-of-a-cluster-that-lives-for-a-test";

/// Where programs and files of the cluster are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The programs that `tests/kube/build` has built.
    pub(super) programs: PathBuf,
    /// A folder for state and configuration.
    pub(super) folder: PathBuf,
    pub(super) certificates: Certificates,
}

impl Places {
    pub(super) fn command(&self, program: &str) -> Command {
        Command::new(self.programs.join(program))
    }

    /// Of somebody who may do everything.
    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    pub(super) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    fn write_kubeconfig(&self) -> Result<()> {
        let ([a, b, c, d], ca) = (HOST, self.certificates.ca.display());
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: 'https://{a}.{b}.{c}.{d}:{API_PORT}', certificate-authority: '{ca}'}}}}]\n\
             users: [{{name: admin, user: {{token: {ADMIN_TOKEN}}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]\n"
        );
        self.write("kubeconfig", &text).map(drop)
    }
}

pub(super) fn etcd(places: &Places) -> Command {
    let mut command = places.command("etcd");
    // The data lives as long as the test: nothing need survive a crash of the machine.
    command.args(["--unsafe-no-fsync", "--log-level", "warn", "--data-dir"]).arg(places.folder.join("etcd"));
    command
}

pub(super) fn api_server(places: &Places) -> Result<Command> {
    places.write_kubeconfig()?;
    let tokens = places.write("tokens.csv", &format!("{ADMIN_TOKEN},admin,admin,system:masters\n"))?;
    let Certificates { server, server_key, service_accounts, service_accounts_public, .. } = &places.certificates;
    let [a, b, c, d] = HOST;
    let mut command = places.command("kube-apiserver");
    command
        .args(["--etcd-servers=http://127.0.0.1:2379", "--authorization-mode=Node,RBAC", "--allow-privileged"])
        .arg(format!("--advertise-address={a}.{b}.{c}.{d}"))
        .arg(format!("--secure-port={API_PORT}"))
        .arg(format!("--service-cluster-ip-range={SERVICES}"))
        .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
        // Webhooks' Services are reached at their endpoints, as the API server's own host has no kube-proxy's rules for sure.
        .arg("--enable-aggregator-routing=true")
        .args(["--shutdown-delay-duration=0s", "--kubelet-preferred-address-types=InternalIP"])
        .args([flag("token-auth-file", &tokens), flag("tls-cert-file", server)])
        .arg(flag("tls-private-key-file", server_key))
        .arg(flag("service-account-key-file", service_accounts_public))
        .arg(flag("service-account-signing-key-file", service_accounts))
        .arg(flag("cert-dir", &places.folder));
    Ok(command)
}

pub(super) fn controller_manager(places: &Places) -> Command {
    let mut command = places.command("kube-controller-manager");
    command
        .args(["--leader-elect=false", "--node-monitor-period=1s", "--concurrent-deployment-syncs=2"])
        .arg(flag("kubeconfig", &places.kubeconfig()))
        .arg(flag("service-account-private-key-file", &places.certificates.service_accounts))
        .arg(flag("root-ca-file", &places.certificates.ca))
        .arg(flag("cert-dir", &places.folder));
    command
}

pub(super) fn scheduler(places: &Places) -> Command {
    let mut command = places.command("kube-scheduler");
    command.arg("--leader-elect=false").arg(flag("kubeconfig", &places.kubeconfig()));
    command.arg(flag("cert-dir", &places.folder));
    command
}

pub(super) fn service_proxy(places: &Places) -> Result<Command> {
    // The kernel's limits on connections are the machine's, not ours to set.
    let text = format!(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n\
         kind: KubeProxyConfiguration\n\
         mode: nftables\n\
         hostnameOverride: {NODE}\n\
         clientConnection: {{kubeconfig: '{}'}}\n\
         nftables: {{minSyncPeriod: 100ms, syncPeriod: 30s}}\n\
         conntrack: {{maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}}\n",
        places.kubeconfig().display()
    );
    let mut command = places.command("kube-proxy");
    command.arg("--config").arg(places.write("kube-proxy.yaml", &text)?);
    Ok(command)
}

pub(super) fn dns(places: &Places) -> Result<Command> {
    let kubeconfig = places.kubeconfig();
    let text = format!(
        ".:53 {{\n  errors\n  kubernetes cluster.local {{\n    kubeconfig {}\n    pods insecure\n    ttl 1\n  }}\n}}\n",
        kubeconfig.display()
    );
    let mut command = places.command("dns");
    command.arg("-conf").arg(places.write("Corefile", &text)?);
    Ok(command)
}

fn flag(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}
