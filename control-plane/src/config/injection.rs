//! What the webhook gives pods, and where it listens.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use weft_api::ports;

use super::{Errors, address};
use crate::inject::{PullPolicy, check_options};

/// The flags of this section.
#[derive(clap::Args, Clone, Debug)]
pub struct InjectionFlags {
    /// Where Kubernetes' API server calls the webhooks, over TLS.
    #[arg(long, env = "WEFT_WEBHOOK_ADDR", default_value_t = format!("0.0.0.0:{}", ports::CONTROL_WEBHOOKS))]
    pub webhook_addr: String,
    /// The image of the sidecars.
    #[arg(long, env = "WEFT_PROXY_IMAGE", default_value_t = format!("weft:{}", env!("CARGO_PKG_VERSION")))]
    pub proxy_image: String,
    /// When nodes pull it: `Always`, `IfNotPresent` or `Never`; by default as Kubernetes does.
    #[arg(long, env = "WEFT_PROXY_PULL_POLICY")]
    pub proxy_pull_policy: Option<String>,
    /// `HOST:PORT` of the control plane for the sidecars; by default its Service.
    #[arg(long, env = "WEFT_PROXY_CONTROL_PLANE")]
    pub proxy_control_plane: Option<String>,
    /// Where the sidecars send spans: an `http` URL.
    #[arg(long, env = "WEFT_PROXY_OTLP_ENDPOINT")]
    pub proxy_otlp_endpoint: Option<String>,
    /// Options for pods and namespaces that don't have them as annotations: a JSON object, such as
    /// `{"log-level": "info", "proxy-memory-limit": "512Mi"}`.
    #[arg(long, env = "WEFT_PROXY_DEFAULTS")]
    pub proxy_defaults: Option<String>,
}

/// What the webhook gives pods, and where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectionConfig {
    /// Where the API server calls the webhooks.
    pub webhook_address: SocketAddr,
    /// The image of the sidecars.
    pub image: String,
    /// When nodes pull it.
    pub pull_policy: Option<PullPolicy>,
    /// Where the sidecars find the control plane; `None`: at its Service.
    pub control_plane: Option<String>,
    /// Where the sidecars send spans.
    pub otlp_endpoint: Option<String>,
    /// Options of pods and namespaces that have none of their own; checked.
    pub defaults: BTreeMap<String, String>,
}

/// Checks the flags of this section.
pub(super) fn read(flags: &InjectionFlags, errors: &mut Errors) -> Option<InjectionConfig> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let webhook_address = errors.take("WEFT_WEBHOOK_ADDR", address(&flags.webhook_addr));
    let pull_policy = given(&flags.proxy_pull_policy).map(|text| text.parse()).transpose();
    let pull_policy = errors.take("WEFT_PROXY_PULL_POLICY", pull_policy);
    let defaults = errors.take("WEFT_PROXY_DEFAULTS", defaults(given(&flags.proxy_defaults)));
    Some(InjectionConfig {
        webhook_address: webhook_address?,
        image: flags.proxy_image.clone(),
        pull_policy: pull_policy?,
        control_plane: given(&flags.proxy_control_plane),
        otlp_endpoint: given(&flags.proxy_otlp_endpoint),
        defaults: defaults?,
    })
}

fn defaults(text: Option<String>) -> Result<BTreeMap<String, String>, String> {
    let Some(text) = text else { return Ok(BTreeMap::new()) };
    let defaults: BTreeMap<String, String> =
        serde_json::from_str(&text).map_err(|error| format!("{text:?} is no JSON object of texts: {error}"))?;
    check_options(&defaults).map_err(|faults| faults.to_string())?;
    Ok(defaults)
}
