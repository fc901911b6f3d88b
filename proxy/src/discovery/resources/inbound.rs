//! The listener `inbound` -> what applies to connections that come to this pod.

mod rate_limit;

use std::collections::HashMap;
use std::sync::Arc;

use weft_api::xds::pb::envoy::config::listener::v3::FilterChain;
use weft_api::xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::ClusterSpecifier;
use weft_api::xds::{self, Listener};

use super::fault::{Fault, Within as _, refuse};
use super::listener::{self, Network};
use crate::discovery::values::{Cluster, Inbound, Mtls, Place, PortPolicy, Protocol};
use rate_limit::LimitsSpec;

/// The cluster that stands for the application itself.
const APPLICATION: &str = "inbound";

/// What applies to connections that come to this pod, with names of clusters.
#[derive(Debug)]
pub(in crate::discovery) struct InboundSpec {
    ports: HashMap<u16, PortSpec>,
    others: PortSpec,
    place: Place,
}

/// What applies to one port.
#[derive(Debug)]
struct PortSpec {
    protocol: Protocol,
    mtls: Mtls,
    limits: LimitsSpec,
}

impl InboundSpec {
    /// The clusters of rate limit services.
    pub(in crate::discovery) fn clusters(&self) -> impl Iterator<Item = &Arc<str>> {
        self.each_port().flat_map(|port| port.limits.clusters())
    }

    /// Takes the local limits over from an earlier version, where they are the same, with what they have counted.
    pub(in crate::discovery) fn keep_rules(&mut self, before: &Self) {
        for (number, port) in &mut self.ports {
            if let Some(before) = before.ports.get(number) {
                port.limits.keep_rules(&before.limits);
            }
        }
        self.others.limits.keep_rules(&before.others.limits);
    }

    /// The policies, with clusters in place of names.
    pub(in crate::discovery) fn inbound(&self, cluster: impl Fn(&Arc<str>) -> Arc<Cluster>) -> Inbound {
        let ports = self.ports.iter().map(|(number, port)| (*number, port.policy(&cluster)));
        Inbound::new(ports.collect(), self.others.policy(&cluster), self.place.clone())
    }

    fn each_port(&self) -> impl Iterator<Item = &PortSpec> {
        self.ports.values().chain([&self.others])
    }
}

impl PortSpec {
    fn policy(&self, cluster: &impl Fn(&Arc<str>) -> Arc<Cluster>) -> PortPolicy {
        PortPolicy { protocol: self.protocol, mtls: self.mtls, limits: Arc::new(self.limits.limits(cluster)) }
    }
}

/// Without a chain for undeclared ports everything is strict there.
impl Default for PortSpec {
    fn default() -> Self {
        Self { protocol: Protocol::Detect, mtls: Mtls::Strict, limits: LimitsSpec::default() }
    }
}

/// Checks the inbound listener.
pub(super) fn parse(listener: &Listener) -> Result<InboundSpec, Fault> {
    let detects = listener::check_listener(listener)?.http;
    let mut ports: HashMap<u16, Chains> = HashMap::with_capacity(listener.filter_chains.len());
    for (index, chain) in listener.filter_chains.iter().enumerate() {
        add_chain(&mut ports, chain, detects).within_item("filter_chains", index)?;
    }
    let ports = ports.into_iter().map(|(port, chains)| Ok((port, chains.policy(port)?)));
    let ports = ports.collect::<Result<_, Fault>>().within("filter_chains")?;
    let default = listener.default_filter_chain.as_ref();
    let others = default.map(parse_default).transpose().within("default_filter_chain")?.unwrap_or_default();
    let metadata = default.and_then(|chain| chain.metadata.as_ref());
    let text = |key| xds::metadata_text(metadata, key).unwrap_or_default().into();
    let place = Place { zone: text(xds::METADATA_ZONE), node: text(xds::METADATA_NODE) };
    Ok(InboundSpec { ports, others, place })
}

/// The chains of one port, by what they take.
#[derive(Default)]
struct Chains {
    /// The connections that begin as HTTP.
    begins_as_http: Option<(LimitsSpec, Mtls)>,
    /// All, or all others.
    rest: Option<(Speaks, Mtls)>,
}

impl Chains {
    fn policy(self, port: u16) -> Result<PortSpec, Fault> {
        match (self.begins_as_http, self.rest) {
            (None, Some((speaks, mtls))) => Ok(speaks.port(mtls)),
            (Some((limits, http)), Some((Speaks::Bytes, mtls))) if http == mtls => {
                Ok(PortSpec { protocol: Protocol::Detect, mtls, limits })
            }
            (Some(_), Some((Speaks::Bytes, _))) => {
                Err(Fault::here(format!("the two chains of port {port} disagree about mtls")))
            }
            (Some(_), _) => Err(Fault::here(format!("port {port} has no tcp_proxy chain for what is not HTTP"))),
            (None, None) => Err(Fault::here(format!("port {port} has no chain"))),
        }
    }
}

fn add_chain(ports: &mut HashMap<u16, Chains>, chain: &FilterChain, detects: bool) -> Result<(), Fault> {
    let chain_match = chain.filter_chain_match.as_ref();
    let port = chain_match.and_then(|chain_match| chain_match.destination_port.as_ref());
    let port = port.and_then(|port| u16::try_from(port.value).ok()).filter(|port| *port != 0);
    let (Some(chain_match), Some(port)) = (chain_match, port) else {
        return Err(Fault::new("filter_chain_match.destination_port", "is not a port from 1 to 65535"));
    };
    let for_http = listener::match_protocols(chain_match).within("filter_chain_match")?;
    let (speaks, mtls) = (speaks(chain)?, mtls(chain)?);
    let chains = ports.entry(port).or_default();
    let taken = match (for_http, speaks) {
        (true, _) if !detects => {
            let reason = "needs the listener filter http_inspector";
            return Err(Fault::new("filter_chain_match.application_protocols", reason));
        }
        (true, Speaks::Http(limits)) => chains.begins_as_http.replace((limits, mtls)).is_some(),
        (true, _) => return Err(Fault::new("filters[0]", "is not an http_connection_manager, but asks for HTTP")),
        (false, speaks) => chains.rest.replace((speaks, mtls)).is_some(),
    };
    if taken {
        Err(Fault::new("filter_chain_match", format!("another chain takes port {port} already")))
    } else {
        Ok(())
    }
}

/// The chain for undeclared ports: a `tcp_proxy`, since nobody knows what they speak, so that the first bytes decide.
fn parse_default(chain: &FilterChain) -> Result<PortSpec, Fault> {
    if let Some(chain_match) = &chain.filter_chain_match {
        refuse!(chain_match; destination_port, application_protocols);
    }
    let port = speaks(chain)?.port(mtls(chain)?);
    let protocol = if port.protocol == Protocol::Http { Protocol::Http } else { Protocol::Detect };
    Ok(PortSpec { protocol, ..port })
}

/// What one chain takes.
enum Speaks {
    Http(LimitsSpec),
    Bytes,
}

impl Speaks {
    fn port(self, mtls: Mtls) -> PortSpec {
        match self {
            Self::Http(limits) => PortSpec { protocol: Protocol::Http, mtls, limits },
            Self::Bytes => PortSpec { protocol: Protocol::Opaque, mtls, limits: LimitsSpec::default() },
        }
    }
}

fn speaks(chain: &FilterChain) -> Result<Speaks, Fault> {
    match listener::filter(chain)? {
        Network::Http(manager) if manager.route_specifier.is_none() => {
            rate_limit::limits(&manager.http_filters).within("filters[0].typed_config").map(Speaks::Http)
        }
        Network::Http(_) => {
            Err(Fault::new("filters[0].typed_config.route_specifier", "is set; inbound requests are not routed"))
        }
        Network::Tcp(proxy) if proxy.cluster_specifier == Some(ClusterSpecifier::Cluster(APPLICATION.to_owned())) => {
            Ok(Speaks::Bytes)
        }
        Network::Tcp(_) => Err(Fault::new("filters[0].typed_config.cluster", format!("is not {APPLICATION:?}"))),
    }
}

fn mtls(chain: &FilterChain) -> Result<Mtls, Fault> {
    match xds::metadata_text(chain.metadata.as_ref(), xds::METADATA_MTLS) {
        None | Some("strict") => Ok(Mtls::Strict),
        Some("permissive") => Ok(Mtls::Permissive),
        Some(other) => {
            let reason = format!("is {other:?}; expected strict or permissive");
            Err(Fault::new("metadata.filter_metadata[weft.dev].mtls", reason))
        }
    }
}
