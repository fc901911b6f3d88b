//! `weft why`: what a pod's proxy would do with a request.
//!
//! The control plane gives what it sends to that pod, and the proxy's own code decides about it: this only asks for
//! what is needed, and prints.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde::Serialize;
use weft_api::status::{
    Configuration, ConfigurationResource, EjectedEndpoint, GetConfigurationRequest, OpenBreaker, Origin, ResourceName,
};
use weft_api::xds::ResourceKind;
use weft_proxy::why::{self, Explanation, Request, Resource, Speaks};

use crate::args::{Destination, Global, Output, WhyArgs};
use crate::client::Client;
use crate::failure::Failure;
use crate::output;

mod show;

/// More rounds than any decision needs.
const MAX_ROUNDS: usize = 20;

/// A decision with what it is made from.
#[derive(Debug, Serialize)]
struct Answer {
    /// `POD.NAMESPACE`
    node: String,
    /// Whether the pod's proxy is connected.
    connected: bool,
    /// What the proxy would decide by what the control plane has now.
    explanation: Explanation,
    /// The resources that it takes to decide, and which version of each the proxy holds.
    resources: Vec<ConfigurationResource>,
    /// Where the manifests are that have a say.
    origins: Vec<Origin>,
    /// What the proxy does not use, as it reported last.
    ejected: Vec<EjectedEndpoint>,
    /// Limits that are reached, as it reported last.
    open_breakers: Vec<OpenBreaker>,
}

/// Explains a request and prints it to `out`.
pub(crate) async fn run(args: WhyArgs, global: &Global, out: &mut impl Write) -> anyhow::Result<()> {
    let node = format!("{}.{}", args.pod, args.place.namespace);
    let mut asked_first = None;
    for mut client in Client::connect_all(global).await? {
        let mut gathered = Gathered::default();
        let request = GetConfigurationRequest { node: node.clone(), ..first(&args) };
        let dialled = gathered.ask(&mut client, request).await?;
        // The replica that the proxy is connected to knows what it holds.
        if gathered.connected || asked_first.is_none() {
            let connected = gathered.connected;
            asked_first = Some((client, gathered, dialled));
            if connected {
                break;
            }
        }
    }
    let (mut client, mut gathered, dialled) =
        asked_first.ok_or_else(|| Failure::new("there is no control plane to ask"))?;
    let dialled = match &args.destination {
        Destination::Address(address) => address.to_string(),
        Destination::Service { .. } => {
            dialled.into_iter().next().ok_or_else(|| Failure::new("the Service has no address"))?
        }
    };
    let request = asked(&args, dialled);
    for _ in 0..MAX_ROUNDS {
        let needed = why::needed(&gathered.known, &gathered.absent, &request);
        if needed.is_empty() {
            break;
        }
        let name = |(kind, name): (ResourceKind, String)| ResourceName { kind: kind.name().to_owned(), name };
        let resources = needed.into_iter().map(name).collect();
        let request = GetConfigurationRequest { node: node.clone(), resources, ..GetConfigurationRequest::default() };
        gathered.ask(&mut client, request).await?;
    }
    let explanation = why::explain(&gathered.known, &request);
    let answer = gathered.into_answer(node, explanation);
    match global.output {
        Output::Json => output::json(out, &answer),
        Output::Table => Ok(writeln!(out, "{}", show::answer(&answer))?),
    }
}

/// The first thing to ask the control plane for: the listener.
fn first(args: &WhyArgs) -> GetConfigurationRequest {
    match &args.destination {
        Destination::Service { name, namespace, port } => GetConfigurationRequest {
            service: format!("{}/{name}", namespace.as_ref().unwrap_or(&args.place.namespace)),
            port: port.clone(),
            ..GetConfigurationRequest::default()
        },
        Destination::Address(address) => {
            let listener = ResourceName { kind: ResourceKind::Listener.name().to_owned(), name: address.to_string() };
            GetConfigurationRequest { resources: vec![listener], ..GetConfigurationRequest::default() }
        }
    }
}

/// The request as the application would send it.
fn asked(args: &WhyArgs, dialled: String) -> Request {
    let mut headers: Vec<_> = args.headers.iter().map(|header| (header.0.clone(), header.1.clone())).collect();
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        let host = match &args.destination {
            Destination::Service { name, namespace: Some(namespace), .. } => format!("{name}.{namespace}"),
            Destination::Service { name, .. } => name.clone(),
            Destination::Address(address) => address.to_string(),
        };
        headers.push(("host".to_owned(), host));
    }
    let speaks = match (&args.tls, args.opaque) {
        (Some(_), _) => Speaks::Tls,
        (None, true) => Speaks::Opaque,
        (None, false) => Speaks::Http,
    };
    Request {
        method: args.method.clone(),
        path: args.path.clone(),
        headers,
        speaks,
        server_name: args.tls.clone(),
        ..Request::new(dialled)
    }
}

/// What the control plane said so far.
#[derive(Default)]
struct Gathered {
    known: Vec<Resource>,
    absent: Vec<(ResourceKind, String)>,
    resources: Vec<ConfigurationResource>,
    origins: BTreeMap<String, Origin>,
    connected: bool,
    ejected: Vec<EjectedEndpoint>,
    open_breakers: Vec<OpenBreaker>,
}

impl Gathered {
    /// Asks for more. Returns the addresses by which the Service is dialled.
    async fn ask(&mut self, client: &mut Client, request: GetConfigurationRequest) -> Result<Vec<String>, Failure> {
        let answer = client.status.get_configuration(request).await;
        let answer = answer.map_err(|status| client.failure(&status, None))?.into_inner();
        let Configuration { dialled, resources, origins, connected, ejected, open_breakers } = answer;
        (self.connected, self.ejected, self.open_breakers) = (connected, ejected, open_breakers);
        self.origins.extend(origins.into_iter().map(|origin| (origin.manifest.clone(), origin)));
        for resource in resources {
            let Some(kind) = ResourceKind::ALL.into_iter().find(|kind| kind.name() == resource.kind) else { continue };
            match &resource.resource {
                Some(any) => self.known.push((kind, resource.name.clone(), any.clone())),
                None => self.absent.push((kind, resource.name.clone())),
            }
            self.resources.push(resource);
        }
        Ok(dialled)
    }

    fn into_answer(mut self, node: String, explanation: Explanation) -> Answer {
        // An address that was not dialled has no say.
        let dialled = &explanation.request.dialled;
        let listener = ResourceKind::Listener.name();
        self.resources.retain(|resource| resource.kind != listener || resource.name == *dialled);
        let manifests: BTreeSet<_> = show::manifests(&explanation).into_iter().map(show::object).collect();
        self.origins.retain(|manifest, _| manifests.contains(manifest.as_str()));
        Answer {
            node,
            connected: self.connected,
            resources: self.resources,
            origins: self.origins.into_values().collect(),
            ejected: self.ejected,
            open_breakers: self.open_breakers,
            explanation,
        }
    }
}

#[cfg(test)]
mod tests;
