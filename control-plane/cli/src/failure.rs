//! Why a command failed, and what to do next.

use std::error::Error as _;
use std::fmt;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::args::Server;

/// One failure as people see it: what happened, the details that the control plane gave, the next step.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    what: String,
    details: Vec<String>,
    next: Option<String>,
}

impl Failure {
    /// A failure that explains itself.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), details: Vec::new(), next: None }
    }

    /// Adds what to do about it, as a sentence without a full stop.
    pub(crate) fn next(mut self, step: impl Into<String>) -> Self {
        self.next = Some(step.into());
        self
    }

    /// Adds something that helps to understand it.
    pub(crate) fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }

    /// From the status of a call to `server`; `target` is the Service that the call was about.
    pub(crate) fn from_status(status: &Status, server: &dyn fmt::Display, target: Option<Target<'_>>) -> Self {
        let what = match status.code() {
            Code::Unavailable => format!("the control plane at {server} did not answer: {}", reason(status)),
            Code::DeadlineExceeded | Code::Cancelled => format!("the control plane at {server} took too long"),
            Code::Unauthenticated | Code::PermissionDenied => {
                format!("the control plane at {server} refused the call: {}", status.message())
            }
            Code::Unimplemented => format!("what listens at {server} does not serve this call: {}", status.message()),
            _ if status.message().is_empty() => format!("the control plane answered {}", status.code()),
            _ => status.message().to_owned(),
        };
        let news = |detail: &Detail| !what.contains(&detail.essence);
        let details = details(status).into_iter().filter(news).map(|detail| detail.line).collect();
        Self { what, details, next: next_step(status.code(), target) }
    }

    /// From a connection that could not be made.
    pub(crate) fn unreachable(error: &tonic::transport::Error, server: &Server) -> Self {
        Self::new(format!("cannot reach the control plane at {server}: {}", innermost(error))).next(POINT_AT_SERVER)
    }
}

/// The Service that a call is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) service: &'a str,
}

const POINT_AT_SERVER: &str = "name the API's address with --server URL or WEFT_SERVER; it listens on port 15080 where \
     weft-control runs, on loopback unless WEFT_API_ADDR says otherwise; or name a cluster with KUBECONFIG and --context";

fn next_step(code: Code, target: Option<Target<'_>>) -> Option<String> {
    let step = match (code, target) {
        (Code::Aborted, Some(Target { namespace, service })) => format!(
            "somebody wrote in between: run `weft traffic get {service} -n {namespace}` to see what is in force, \
             then repeat with its version"
        ),
        (Code::NotFound, Some(Target { namespace, .. })) => {
            format!("check the name and the namespace ({namespace}); `weft traffic list` shows every split")
        }
        (Code::Unauthenticated | Code::PermissionDenied, _) => {
            "pass the file that weft-control was given as WEFT_API_TOKEN_FILE, by --token-file or the same variable"
                .to_owned()
        }
        (Code::Unavailable | Code::DeadlineExceeded | Code::Unimplemented, _) => POINT_AT_SERVER.to_owned(),
        (Code::Internal | Code::Unknown | Code::DataLoss, _) => "look at the log of weft-control".to_owned(),
        _ => return None,
    };
    Some(step)
}

/// One of a status' details.
struct Detail {
    line: String,
    /// The part that is not worth repeating where the message has it already.
    essence: String,
}

/// The standard error details (`google.rpc`), a line each.
fn details(status: &Status) -> Vec<Detail> {
    let given = status.get_error_details();
    let detail = |name: &str, essence: &str| Detail { line: format!("{name}: {essence}"), essence: essence.to_owned() };
    let mut details = Vec::new();
    if let Some(bad) = given.bad_request() {
        details.extend(bad.field_violations.iter().map(|field| detail(&field.field, &field.description)));
    }
    if let Some(failed) = given.precondition_failure() {
        details.extend(failed.violations.iter().map(|one| detail(&one.subject, &one.description)));
    }
    if let Some(resource) = given.resource_info() {
        details.push(detail(&format!("{} {}", resource.resource_type, resource.resource_name), &resource.description));
    }
    if let Some(info) = given.error_info() {
        let mut pairs: Vec<_> = info.metadata.iter().collect();
        pairs.sort_unstable();
        details.extend(pairs.into_iter().map(|(key, value)| detail(key, value)));
    }
    details
}

/// A transport's status says little itself; its innermost source says, for example, `Connection refused`.
fn reason(status: &Status) -> String {
    status.source().map_or_else(|| status.message().to_owned(), innermost)
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for detail in &self.details {
            write!(f, "\n  {detail}")?;
        }
        match &self.next {
            Some(next) => write!(f, "\nnext: {next}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests;
