//! The Gateway API's own conformance tests for meshes, as they are: MESH-HTTP, MESH-GRPC and every extended feature.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weft_tests::kube::{Cluster, Suite};

const LIMIT: Duration = Duration::from_secs(900);

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("the Gateway API's conformance tests for meshes pass, all of them", LIMIT, conforms);
}

async fn conforms(cluster: Arc<Cluster>) -> Result<()> {
    let program = cluster.programs().join("conformance");
    let mut command = cluster.command(program.to_str().context("a path that is not UTF-8")?);
    command.args(["-test.v", "-test.timeout=14m"]).current_dir(cluster.folder());
    let output = command.output().await.context("cannot start the conformance tests")?;
    let text = String::from_utf8_lossy(&output.stdout);
    std::fs::write(cluster.folder().join("conformance.log"), text.as_bytes())?;

    let tests: Vec<(&str, &str)> = text.lines().filter_map(outcome).collect();
    // The suite has gateways' tests, too, and leaves them out.
    let of_meshes = tests.iter().filter(|(name, outcome)| *outcome != "SKIP" || name.starts_with("Mesh"));
    of_meshes.for_each(|(name, outcome)| eprintln!("    {outcome} {name}"));
    let failed: Vec<&str> = tests.iter().filter(|(_, outcome)| *outcome == "FAIL").map(|(name, _)| *name).collect();
    let passed = tests.iter().filter(|(_, outcome)| *outcome == "PASS").count();
    eprintln!("    conformance: {passed} passed, {} failed", failed.len());
    let left_out = tests.iter().filter(|(name, outcome)| *outcome == "SKIP" && name.starts_with("Mesh")).count();
    ensure!(left_out == 0, "{left_out} tests of meshes were left out");
    ensure!(output.status.success() && failed.is_empty() && passed > 0, "{failed:?} failed:\n{}", why(&text));
    Ok(())
}

/// Of a line such as `    --- PASS: TestMesh/MeshBasic (3.14s)`, one for each test: its name and what became of it.
fn outcome(line: &str) -> Option<(&str, &str)> {
    let (outcome, rest) = line.trim_start().strip_prefix("--- ")?.split_once(": TestMesh/")?;
    let name = rest.split(' ').next()?;
    (!name.contains('/')).then_some((name, outcome))
}

/// The lines that say what was expected, without those of the waiting before.
fn why(text: &str) -> String {
    let telling = ["Error:", "expected", "wanted", "--- FAIL", "panic", "timed out"];
    let lines: Vec<&str> = text.lines().filter(|line| telling.iter().any(|word| line.contains(word))).collect();
    lines.iter().rev().take(60).rev().fold(String::new(), |text, line| text + line + "\n")
}
