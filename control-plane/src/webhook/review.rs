//! `admission.k8s.io/v1` AdmissionReview, as far as it is needed. The object stays the JSON that it is: what is not
//! understood must come out of a patch as it went in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The API server cuts off longer ones.
const WARNING_CHARS: usize = 250;
const MOST_WARNINGS: usize = 10;

/// What the API server asks.
#[derive(Debug, Deserialize)]
pub(super) struct Review {
    pub(super) request: Request,
}

/// The object in question.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Request {
    pub(super) uid: String,
    pub(super) namespace: Option<String>,
    pub(super) object: Value,
    pub(super) old_object: Value,
    /// Nothing will be stored, and nothing else may happen either.
    pub(super) dry_run: bool,
}

/// What is answered.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer {
    api_version: &'static str,
    kind: &'static str,
    response: Response,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    uid: String,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Status {
    code: u16,
    reason: &'static str,
    message: String,
}

/// What became of an object.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// It is stored as it is.
    Allowed { warnings: Vec<String> },
    /// It is stored as the patch makes it.
    Patched { patch: json_patch::Patch, warnings: Vec<String> },
    /// It is not stored, for this reason.
    Denied { reason: String },
}

impl Verdict {
    pub(super) const ALLOWED: Self = Self::Allowed { warnings: Vec::new() };

    /// The answer to the request of this uid.
    pub(super) fn answer(self, uid: String) -> Answer {
        let mut response =
            Response { uid, allowed: true, status: None, patch_type: None, patch: None, warnings: Vec::new() };
        match self {
            Self::Allowed { warnings } => response.warnings = shortened(warnings),
            Self::Patched { patch, warnings } => {
                response.warnings = shortened(warnings);
                // A patch is made of JSON values, which can all be written.
                response.patch = serde_json::to_vec(&patch).ok().map(|patch| STANDARD.encode(patch));
                response.patch_type = Some("JSONPatch");
            }
            Self::Denied { reason } => {
                response.allowed = false;
                response.status = Some(Status { code: 422, reason: "Invalid", message: reason });
            }
        }
        Answer { api_version: API_VERSION, kind: KIND, response }
    }
}

fn shortened(mut warnings: Vec<String>) -> Vec<String> {
    let left_out = warnings.len().saturating_sub(MOST_WARNINGS);
    warnings.truncate(MOST_WARNINGS);
    for warning in &mut warnings {
        if let Some((end, _)) = warning.char_indices().nth(WARNING_CHARS) {
            warning.truncate(end);
            warning.push_str("...");
        }
    }
    if left_out > 0 {
        warnings.push(format!("and {left_out} more"));
    }
    warnings
}

#[cfg(test)]
mod tests;
