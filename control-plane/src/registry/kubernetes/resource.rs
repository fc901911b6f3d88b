//! Under which version an API server has a kind.

use kube::Client;
use kube::api::ApiResource;

use crate::registry::manifest::Kind;

/// The newest version that is read and served; `None`: the API server has none, for want of a CRD.
///
/// # Errors
/// When the API server can't be asked.
pub(super) async fn served(client: &Client, kind: Kind) -> Result<Option<ApiResource>, kube::Error> {
    let mut served = None;
    for api_version in kind.api_versions() {
        // Of the core there is one version, for ever.
        let Some((group, version)) = api_version.split_once('/') else {
            return Ok(Some(resource("", api_version, kind, kind.plural())));
        };
        let groups = match &served {
            Some(groups) => groups,
            None => served.insert(client.list_api_groups().await?.groups),
        };
        let mut versions = groups.iter().filter(|known| known.name == group).flat_map(|known| &known.versions);
        if !versions.any(|known| known.group_version == *api_version) {
            continue;
        }
        let resources = match client.list_api_group_resources(api_version).await {
            Ok(listed) => listed.resources,
            Err(error) if is_missing(&error) => continue,
            Err(error) => return Err(error),
        };
        // Subresources have a slash in their name.
        let found = resources.iter().find(|known| known.kind == kind.name() && !known.name.contains('/'));
        if let Some(found) = found {
            return Ok(Some(resource(group, version, kind, &found.name)));
        }
    }
    Ok(None)
}

/// Whether the API server answers that there is no such thing.
pub(super) fn is_missing(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn resource(group: &str, version: &str, kind: Kind, plural: &str) -> ApiResource {
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.name().to_owned(),
        plural: plural.to_owned(),
    }
}
