//! `weft check`: what stands in Weft's way in a cluster, before an installation and after, each with a next step.

use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use crate::args::{CheckArgs, Global, Output};
use crate::cluster::Cluster;
use crate::output;

mod before;
mod installed;
mod mesh;
#[cfg(test)]
mod tests;

/// Where the findings are explained.
const DOCS: &str = "https://github.com/weft-mesh/weft/blob/main/docs/reference/check.md";

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// How it is.
    state: State,
    /// What was looked at: a heading of docs/reference/check.md.
    topic: &'static str,
    /// What was found.
    found: String,
    /// What to do about it, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Where it is explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    docs: Option<String>,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it is to be.
    Good,
    /// It works, but not all of it, or not for long.
    Warning,
    /// It does not work.
    Bad,
}

/// What was found so far.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn good(&mut self, topic: &'static str, found: impl Into<String>) {
        self.0.push(Finding { state: State::Good, topic, found: found.into(), next: None, docs: None });
    }

    fn warning(&mut self, topic: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.add(State::Warning, topic, found.into(), next.into());
    }

    fn bad(&mut self, topic: &'static str, found: impl Into<String>, next: impl Into<String>) {
        self.add(State::Bad, topic, found.into(), next.into());
    }

    fn add(&mut self, state: State, topic: &'static str, found: String, next: String) {
        let docs = Some(format!("{DOCS}#{}", topic.replace(' ', "-")));
        self.0.push(Finding { state, topic, found, next: Some(next), docs });
    }

    /// The API server refused to tell.
    fn untold(&mut self, topic: &'static str, error: &kube::Error) {
        let found = format!("could not be looked at: {}", crate::cluster::innermost(error));
        self.warning(topic, found, "ask somebody who may read it to run `weft check`");
    }

    fn worst(&self) -> State {
        self.0.iter().map(|finding| finding.state).max().unwrap_or(State::Good)
    }
}

/// Looks, and prints what was found. The exit code is 1 where something does not work.
pub(crate) async fn run(args: CheckArgs, global: &Global, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(global).await?;
    let mut findings = Findings::default();
    before::look(&cluster, &mut findings).await?;
    if args.pre {
        before::look_for_rights(&cluster, &mut findings).await;
    } else {
        installed::look(&cluster, &mut findings).await;
        mesh::look(&cluster, global, &mut findings).await;
    }
    match global.output {
        Output::Json => output::json(out, &findings.0)?,
        Output::Table => writeln!(out, "{}", show(&findings))?,
    }
    Ok(if findings.worst() == State::Bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn show(findings: &Findings) -> String {
    let mut lines = Vec::new();
    for finding in &findings.0 {
        let mark = match finding.state {
            State::Good => "ok  ",
            State::Warning => "warn",
            State::Bad => "BAD ",
        };
        lines.push(format!("{mark}  {}: {}", finding.topic, finding.found));
        lines.extend(finding.next.iter().map(|next| format!("        next: {next}")));
        lines.extend(finding.docs.iter().map(|docs| format!("        docs: {docs}")));
    }
    let count = |state| findings.0.iter().filter(|finding| finding.state == state).count();
    let (bad, warnings) = (count(State::Bad), count(State::Warning));
    lines.push(format!("\n{} checks: {bad} bad, {warnings} to look at", findings.0.len()));
    lines.join("\n")
}
