//! What a proxy would make of a set of resources, without a control plane: the same graph, fed by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use weft_api::names::INBOUND_LISTENER;
use weft_api::xds::ResourceKind;
use weft_api::xds::pb::envoy::service::discovery::v3::Resource as XdsResource;
use weft_api::xds::pb::google::protobuf::Any;

use super::directory::Answer;
use super::graph::{Change, Graph, NameChange};

/// All resources are of one version; it only must not be empty.
const VERSION: &str = "1";

/// What becomes of an address that the application dials.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// What the proxy would answer; `None`: it would wait.
    pub(crate) answer: Option<Answer>,
    /// The route configuration that the listener names.
    pub(crate) route_configuration: Option<Arc<str>>,
    /// The resources that were asked for and are not there.
    pub(crate) absent: Vec<(ResourceKind, String)>,
    /// The resources that would be refused, and why.
    pub(crate) refused: Vec<(ResourceKind, String, String)>,
}

impl Snapshot {
    /// Looks an address up in resources. What is not among them does not exist. No name is resolved.
    pub(crate) fn of(dialled: SocketAddr, resources: &[(ResourceKind, String, Any)]) -> Self {
        let now = Instant::now();
        let mut graph = Graph::new(now);
        let (mut absent, mut refused) = (Vec::new(), Vec::new());
        graph.want(dialled, now);
        let mut changes = graph.take_changes();
        while !changes.is_empty() {
            for change in changes {
                let Change::Subscribe(key) = change else { continue };
                let resource = resources.iter().find(|(kind, name, _)| *kind == key.kind && **name == *key.name);
                if let Some((kind, name, any)) = resource {
                    let fault = graph.apply(*kind, &[answer(name, any)], &[], now).pop();
                    refused.extend(fault.map(|fault| (*kind, name.clone(), without_name(&fault, name))));
                } else if *key.name != *INBOUND_LISTENER {
                    graph.apply(key.kind, &[], &[key.name.to_string()], now);
                    absent.push((key.kind, key.name.to_string()));
                }
            }
            for change in graph.take_name_changes() {
                if let NameChange::Start(host) = change {
                    graph.resolved(&host, None, now);
                }
            }
            changes = graph.take_changes();
        }
        let answer = graph.take_answers().pop().map(|(_, answer)| answer);
        Self { answer, route_configuration: graph.route_configuration(dialled), absent, refused }
    }
}

fn answer(name: &str, any: &Any) -> XdsResource {
    let (name, version) = (name.to_owned(), VERSION.to_owned());
    XdsResource { name, version, resource: Some(any.clone()), ..XdsResource::default() }
}

/// The fault of a resource without the name and version that it begins with.
fn without_name(fault: &str, name: &str) -> String {
    fault.strip_prefix(&format!("{name:?} {VERSION}: ")).unwrap_or(fault).to_owned()
}
