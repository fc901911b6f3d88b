//! `weft inject ...`

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use weft_control::inject::PullPolicy;

use super::Namespace;

/// Manifests to give sidecars.
#[derive(Debug, Args)]
pub struct InjectArgs {
    /// YAML or JSON with any number of documents; `-`: the standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Take the sidecars away again
    #[arg(long)]
    pub uninject: bool,
    /// The image that has weft-proxy
    #[arg(long, env = "WEFT_PROXY_IMAGE", default_value_t = format!("weft:{}", env!("CARGO_PKG_VERSION")))]
    pub image: String,
    /// When nodes pull it: Always, IfNotPresent or Never
    #[arg(long, env = "WEFT_PROXY_PULL_POLICY", value_name = "POLICY")]
    pub pull_policy: Option<PullPolicy>,
    /// The control plane, as the pods resolve it; otherwise weft-control.SYSTEM-NAMESPACE.svc:15012
    #[arg(long, env = "WEFT_PROXY_CONTROL_PLANE", value_name = "HOST:PORT")]
    pub control_plane: Option<String>,
    /// The mesh's trust domain
    #[arg(long, env = "WEFT_TRUST_DOMAIN", value_name = "NAME", default_value = "cluster.local")]
    pub trust_domain: String,
    /// Where the proxies send spans
    #[arg(long, env = "WEFT_PROXY_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// An option for pods that don't have it as annotation, for example: --set log-level=debug
    #[arg(long = "set", value_name = "OPTION=VALUE")]
    pub options: Vec<Setting>,
    /// The cluster's version: before 1.29 there are no native sidecars; otherwise one that is maintained
    #[arg(long, value_name = "1.N")]
    pub kubernetes_version: Option<KubernetesVersion>,
    /// The namespace of objects that name none.
    #[command(flatten)]
    pub place: Namespace,
}

/// `OPTION=VALUE`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting(pub String, pub String);

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) =
            text.split_once('=').ok_or_else(|| format!("'{text}' must be OPTION=VALUE, such as log-level=debug"))?;
        Ok(Self(name.trim_start_matches("weft.dev/").to_owned(), value.to_owned()))
    }
}

/// `MAJOR.MINOR`, of which a patch version is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesVersion {
    /// Its major part.
    pub major: String,
    /// Its minor part.
    pub minor: String,
}

impl FromStr for KubernetesVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.trim_start_matches('v').splitn(3, '.');
        let mut number = || parts.next().filter(|part| part.parse::<u32>().is_ok()).map(str::to_owned);
        match (number(), number()) {
            (Some(major), Some(minor)) => Ok(Self { major, minor }),
            _ => Err(format!("'{text}' is not a version such as 1.36")),
        }
    }
}
