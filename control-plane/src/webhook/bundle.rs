//! By which roots the API server knows the webhooks: `caBundle` in both configurations. Any replica writes it; all write the
//! same, and only where it differs.

use std::fmt::Debug;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration};
use kube::api::{Patch, PatchParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::ca::CurrentAuthority;
use crate::ca::own::changed;
use crate::cluster::Cluster;

/// The configurations of the chart.
const MUTATING: &str = "weft-injector";
const VALIDATING: &str = "weft-validator";
const FIELD_MANAGER: &str = "weft-control";
/// How often is looked whether it is still so: somebody may have applied a configuration without it.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// The same until it is so for the first time: pods wait for it.
const LOOK_SOON: Duration = Duration::from_secs(1);

/// Keeps it so, for ever.
pub(super) async fn keep(cluster: Cluster, mut authority: CurrentAuthority) {
    let mutating = kube::Api::<MutatingWebhookConfiguration>::all(cluster.client.clone());
    let validating = kube::Api::<ValidatingWebhookConfiguration>::all(cluster.client);
    let mut said = String::new();
    loop {
        let bundle = STANDARD.encode(authority.borrow_and_update().bundle().to_pem());
        let written = async {
            write(&mutating, MUTATING, &bundle).await?;
            write(&validating, VALIDATING, &bundle).await
        };
        let pause = match written.await {
            Ok(()) => {
                said.clear();
                LOOK_AGAIN
            }
            Err(problem) => {
                if said != problem {
                    tracing::warn!(%problem, "the API server can't be told how to know the webhooks, trying on");
                    said = problem;
                }
                LOOK_SOON
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changed(&mut authority) => {}
        }
    }
}

async fn write<K>(api: &kube::Api<K>, name: &str, bundle: &str) -> Result<(), String>
where
    K: kube::Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let found = api.get_opt(name).await.map_err(|error| format!("{name}: {error}"))?;
    let found = found.ok_or_else(|| format!("there is no {} {name}; the chart has it", K::kind(&())))?;
    let found = serde_json::to_value(found).map_err(|error| error.to_string())?;
    let Some(webhooks) = differing(&found, bundle) else { return Ok(()) };
    let applied = json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name},
        "webhooks": webhooks,
    });
    // Whoever wrote another one can't have known ours.
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &parameters, &Patch::Apply(applied)).await.map_err(|error| format!("{name}: {error}"))?;
    tracing::info!(name, "told the API server how to know the webhooks");
    Ok(())
}

/// The webhooks with the bundle, all of them; `None`: all have it.
fn differing(configuration: &Value, bundle: &str) -> Option<Vec<Value>> {
    let webhooks = configuration.get("webhooks").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let has = |webhook: &Value| webhook.pointer("/clientConfig/caBundle").and_then(Value::as_str) == Some(bundle);
    if webhooks.iter().all(has) {
        return None;
    }
    let names = webhooks.iter().filter_map(|webhook| webhook.get("name"));
    Some(names.map(|name| json!({"name": name, "clientConfig": {"caBundle": bundle}})).collect())
}

#[cfg(test)]
mod tests;
