//! The registry folder: Kubernetes' own manifests, as `weft-control` reads them. Files are replaced by rename.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use parking_lot::Mutex;

use super::network::Addresses;

/// A namespace and a name in it.
pub(super) type Key = (String, String);

/// How a pod stands in the EndpointSlices of its Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointState {
    /// Takes requests.
    #[default]
    Ready,
    /// Listed, and not ready.
    NotReady,
    /// Being deleted: not ready, still serving.
    Terminating,
    /// Not listed.
    Absent,
}

/// What the manifests say of a pod.
#[derive(Clone, Debug)]
pub(super) struct PodRecord {
    pub(super) key: Key,
    pub(super) service_account: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) addresses: Addresses,
}

/// One port of a Service.
#[derive(Clone, Debug)]
pub(super) struct PortRecord {
    pub(super) port: u16,
    pub(super) target: u16,
    /// `appProtocol`, where the port is declared.
    pub(super) protocol: Option<String>,
}

/// What the manifests say of a Service.
#[derive(Clone, Debug)]
pub(super) struct ServiceRecord {
    pub(super) key: Key,
    pub(super) virtual_addresses: Addresses,
    pub(super) ports: Vec<PortRecord>,
    pub(super) backends: Vec<Key>,
    /// Set for a Service of type ExternalName.
    pub(super) external_name: Option<String>,
}

/// The folder and what was written to it.
#[derive(Debug)]
pub(super) struct Registry {
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pods: BTreeMap<Key, (PodRecord, EndpointState)>,
    services: BTreeMap<Key, ServiceRecord>,
}

impl Registry {
    pub(super) fn create(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder, state: Mutex::default() })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a file of the registry, whole or not at all.
    pub(super) fn write(&self, file: &str, text: &str) -> Result<()> {
        let (draft, path) = (self.folder.join(format!(".{file}.draft")), self.folder.join(file));
        std::fs::write(&draft, text)
            .and_then(|()| std::fs::rename(&draft, &path))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    pub(super) fn remove(&self, file: &str) -> Result<()> {
        let path = self.folder.join(file);
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }

    pub(super) fn add_service_account(&self, namespace: &str, name: &str, token: &str) -> Result<()> {
        self.write(&format!("serviceaccount-{namespace}-{name}.yaml"), &service_account(namespace, name, token))
    }

    pub(super) fn add_pod(&self, pod: PodRecord) -> Result<()> {
        self.write(&format!("pod-{}-{}.yaml", pod.key.0, pod.key.1), &pod_manifest(&pod)?)?;
        self.state.lock().pods.insert(pod.key.clone(), (pod, EndpointState::Ready));
        Ok(())
    }

    /// Takes the Pod's manifest away, and the pod from every EndpointSlice.
    pub(super) fn remove_pod(&self, key: &Key) -> Result<()> {
        self.set_endpoint(key, EndpointState::Absent)?;
        self.remove(&format!("pod-{}-{}.yaml", key.0, key.1))?;
        self.state.lock().pods.remove(key);
        Ok(())
    }

    pub(super) fn add_service(&self, service: ServiceRecord) -> Result<()> {
        let mut state = self.state.lock();
        self.write_service(&service, &state)?;
        state.services.insert(service.key.clone(), service);
        Ok(())
    }

    /// Changes how a pod stands in the EndpointSlices of all its Services.
    pub(super) fn set_endpoint(&self, key: &Key, endpoint: EndpointState) -> Result<()> {
        let mut state = self.state.lock();
        let (_, current) = state.pods.get_mut(key).with_context(|| format!("there is no pod {}/{}", key.0, key.1))?;
        *current = endpoint;
        for service in state.services.values().filter(|service| service.backends.contains(key)) {
            self.write_service(service, &state)?;
        }
        Ok(())
    }

    fn write_service(&self, service: &ServiceRecord, state: &State) -> Result<()> {
        let endpoints: Vec<_> = service.backends.iter().filter_map(|key| state.pods.get(key)).collect();
        let text = service_manifest(service) + &slices(service, &endpoints);
        self.write(&format!("service-{}-{}.yaml", service.key.0, service.key.1), &text)
    }
}

fn service_account(namespace: &str, name: &str, token: &str) -> String {
    format!(
        "apiVersion: v1\n\
         kind: ServiceAccount\n\
         metadata: {{name: {name}, namespace: {namespace}}}\n\
         ---\n\
         apiVersion: v1\n\
         kind: Secret\n\
         type: kubernetes.io/service-account-token\n\
         metadata:\n  \
           name: {name}-token\n  \
           namespace: {namespace}\n  \
           annotations: {{kubernetes.io/service-account.name: {name}}}\n\
         stringData: {{token: \"{token}\"}}\n"
    )
}

fn pod_manifest(pod: &PodRecord) -> Result<String> {
    let PodRecord { key: (namespace, name), service_account, labels, annotations, addresses } = pod;
    let (labels, annotations) = (serde_json::to_string(labels)?, serde_json::to_string(annotations)?);
    let Addresses { v4, v6 } = addresses;
    Ok(format!(
        "apiVersion: v1\n\
         kind: Pod\n\
         metadata:\n  \
           name: {name}\n  \
           namespace: {namespace}\n  \
           labels: {labels}\n  \
           annotations: {annotations}\n\
         spec:\n  \
           serviceAccountName: {service_account}\n  \
           containers: [{{name: app}}]\n\
         status:\n  \
           podIP: {v4}\n  \
           podIPs: [{{ip: {v4}}}, {{ip: \"{v6}\"}}]\n"
    ))
}

fn service_manifest(service: &ServiceRecord) -> String {
    let ServiceRecord { key: (namespace, name), virtual_addresses: Addresses { v4, v6 }, ports, .. } = service;
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  \
         clusterIP: {v4}\n  clusterIPs: [{v4}, \"{v6}\"]\n"
    );
    if let Some(target) = &service.external_name {
        let _ = writeln!(text, "  type: ExternalName\n  externalName: {target}");
    }
    text += "  ports:\n";
    for PortRecord { port, target, protocol } in ports {
        let _ = writeln!(text, "  - name: {}\n    port: {port}\n    targetPort: {target}", port_name(*port));
        if let Some(protocol) = protocol {
            let _ = writeln!(text, "    appProtocol: {protocol}");
        }
    }
    text
}

/// A port's name says nothing of its protocol: `appProtocol` does, or nothing at all.
fn port_name(port: u16) -> String {
    format!("port-{port}")
}

fn slices(service: &ServiceRecord, endpoints: &[&(PodRecord, EndpointState)]) -> String {
    if service.external_name.is_some() {
        return String::new();
    }
    let (namespace, name) = &service.key;
    let mut text = String::new();
    for family in ["IPv4", "IPv6"] {
        let _ = write!(
            text,
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-{}\n  \
             namespace: {namespace}\n  labels: {{kubernetes.io/service-name: {name}}}\naddressType: {family}\nports:\n",
            family.to_ascii_lowercase()
        );
        for PortRecord { port, target, .. } in &service.ports {
            let _ = writeln!(text, "- {{name: {}, port: {target}}}", port_name(*port));
        }
        let listed = endpoints.iter().filter(|(_, state)| *state != EndpointState::Absent);
        let listed: Vec<String> = listed.map(|(pod, state)| endpoint(pod, *state, family)).collect();
        let _ = writeln!(text, "endpoints: [{}]", listed.join(", "));
    }
    text
}

fn endpoint(pod: &PodRecord, state: EndpointState, family: &str) -> String {
    let address = match family {
        "IPv4" => pod.addresses.v4.to_string(),
        _ => pod.addresses.v6.to_string(),
    };
    let ready = state == EndpointState::Ready;
    let terminating = state == EndpointState::Terminating;
    let serving = ready || terminating;
    format!(
        "{{addresses: [\"{address}\"], conditions: {{ready: {ready}, serving: {serving}, terminating: {terminating}}}, \
         targetRef: {{kind: Pod, name: {}, namespace: {}}}}}",
        pod.key.1, pod.key.0
    )
}

#[cfg(test)]
mod tests;
