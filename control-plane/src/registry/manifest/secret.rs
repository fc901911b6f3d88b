//! `v1` Secret of type `kubernetes.io/service-account-token`: a join token. Nothing of a Secret's content is ever
//! reported.

use k8s_openapi::api::core::v1 as core;
use serde_json::Value;

use super::{Refused, is_dns_subdomain};
use crate::mesh::{JoinToken, ObjectName, TokenDigest};
use crate::registry::decode::decode;
use crate::registry::fault::{FieldPath, Problem, Report};

/// The type of a Secret that holds a ServiceAccount's token.
const TYPE: &str = "kubernetes.io/service-account-token";
/// The annotation that names the ServiceAccount.
const ACCOUNT: &str = "kubernetes.io/service-account.name";

/// `None`: a Secret of another type, which is not ours to read.
pub(super) fn read(name: &ObjectName, manifest: &Value, report: &mut Report) -> Result<Option<JoinToken>, Refused> {
    let raw = decode::<core::Secret>(manifest).map_err(|problem| {
        let message =
            "is not as a Secret has it; data is base64, stringData is text (the value is not shown)".to_owned();
        report.0.push(Problem { message, ..problem });
        Refused
    })?;
    if raw.type_.as_deref() != Some(TYPE) {
        return Ok(None);
    }
    let field = FieldPath::of(&["metadata", "annotations", ACCOUNT]);
    let account = raw.metadata.annotations.as_ref().and_then(|annotations| annotations.get(ACCOUNT));
    let Some(account) = account.filter(|account| is_dns_subdomain(account)) else {
        report.error(field, "does not name a ServiceAccount, which a Secret of this type is bound to");
        return Err(Refused);
    };
    let text = raw.string_data.as_ref().and_then(|data| data.get("token")).cloned();
    let bytes = || raw.data.as_ref().and_then(|data| data.get("token")).map(|bytes| bytes.0.clone());
    let token = text.or_else(|| String::from_utf8(bytes()?).ok()).unwrap_or_default();
    let token = token.trim();
    if token.is_empty() {
        report.error(FieldPath::of(&["data", "token"]), "is missing, empty or no text, and so is stringData.token");
        return Err(Refused);
    }
    let service_account = ObjectName::new(name.namespace.clone(), account.as_str());
    Ok(Some(JoinToken { name: name.clone(), service_account, digest: TokenDigest::of(token) }))
}

#[cfg(test)]
mod tests;
