//! The chart: what it renders, what values it refuses, and that nothing is left of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use weft_tests::kube::{Cluster, Helm, Mesh, RELEASE, SYSTEM_NAMESPACE, Suite};

use crate::LIMIT;

pub(crate) fn add(suite: &mut Suite) {
    suite.bare("the chart passes helm lint", LIMIT, lint);
    suite.bare("the chart renders as it did: as it comes", LIMIT, |cluster| golden(cluster, "default", &[]));
    suite.bare("the chart renders as it did: with all that is optional", LIMIT, |cluster| {
        golden(cluster, "full", &FULL)
    });
    suite.bare("what the chart renders is valid to the API server", LIMIT, valid);
    suite.bare("the chart refuses values that are misspelt or out of range", LIMIT, refused);
}

/// All options, but for the kinds of the Prometheus Operator, which this API server doesn't know.
const FULL: [&str; 6] = [
    "autoscaling.enabled=true",
    "networkPolicy.enabled=true",
    "serviceMonitor.enabled=true",
    "antiAffinity=hard",
    "log.format=text",
    "imagePullSecrets={registry}",
];

async fn lint(cluster: Arc<Cluster>) -> Result<()> {
    for helm in Helm::ALL {
        let said = helm.run(&cluster, ["lint", "--strict", &chart()?]).await?;
        ensure!(said.contains("0 chart(s) failed"), "Helm {helm:?}: {said}");
    }
    Ok(())
}

/// What Helm 3 renders is the golden file. Helm 4 renders the same documents, but leaves empty lines between them, and puts webhooks
/// before kinds that it doesn't know.
async fn golden(cluster: Arc<Cluster>, name: &str, values: &[&str]) -> Result<()> {
    let rendered = template(&cluster, Helm::Three, values).await?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/kube/golden/chart-{name}.yaml"));
    if std::env::var_os("WEFT_GOLDEN").is_some() {
        return Ok(std::fs::write(path, rendered)?);
    }
    let expected = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let differs = expected.lines().zip(rendered.lines()).position(|(expected, is)| expected != is);
    let line = differs.unwrap_or_else(|| expected.lines().count().min(rendered.lines().count()));
    ensure!(
        expected == rendered,
        "it differs from {} in line {}: {:?}; WEFT_GOLDEN=1 takes it as it is now",
        path.display(),
        line + 1,
        rendered.lines().nth(line)
    );
    let rendered = template(&cluster, Helm::Four, values).await?;
    let (expected, rendered) = (documents(&expected), documents(&rendered));
    let lacking: Vec<_> = expected.difference(&rendered).collect();
    let surplus: Vec<_> = rendered.difference(&expected).collect();
    let same = lacking.is_empty() && surplus.is_empty();
    ensure!(same, "Helm 4 renders other documents than Helm 3:\n{surplus:#?}\nin place of\n{lacking:#?}");
    Ok(())
}

fn documents(rendered: &str) -> BTreeSet<&str> {
    let documents = rendered.split("---\n# Source: ").map(str::trim_end);
    documents.filter(|document| !document.is_empty()).collect()
}

async fn valid(cluster: Arc<Cluster>) -> Result<()> {
    let values =
        ["autoscaling.enabled=true", "networkPolicy.enabled=true", "dashboards.enabled=true", "antiAffinity=hard"];
    let path = cluster.folder().join("chart.yaml");
    std::fs::write(&path, template(&cluster, Helm::Three, &values).await?)?;
    cluster.namespace(SYSTEM_NAMESPACE, "").await?;
    let file = path.to_str().context("a path that is not UTF-8")?;
    cluster.kubectl(["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", file]).await.map(drop)
}

async fn refused(cluster: Arc<Cluster>) -> Result<()> {
    let cases = [
        ("replica=2", "replica"),
        ("replicas=0", "replicas"),
        ("defaultMtls=on", "defaultMtls"),
        ("certLifetime=forever", "certLifetime"),
        ("webhook.injector.failurePolicy=Maybe", "failurePolicy"),
        ("antiAffinity=often", "antiAffinity"),
        ("proxy.accessLog=some", "accessLog"),
    ];
    for (helm, (value, expected)) in Helm::ALL.into_iter().flat_map(|helm| cases.map(|case| (helm, case))) {
        let refused = template(&cluster, helm, &[value]).await.err();
        let said = refused.with_context(|| format!("Helm {helm:?} takes {value}"))?.to_string();
        ensure!(said.contains(expected), "Helm {helm:?} refuses {value} without {expected:?}: {said}");
    }
    Ok(())
}

async fn template(cluster: &Cluster, helm: Helm, values: &[&str]) -> Result<String> {
    let mut helm = helm.command(cluster);
    helm.args(["template", RELEASE, &chart()?, "--namespace", SYSTEM_NAMESPACE]);
    for value in values {
        helm.args(["--set", value]);
    }
    let output = helm.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn chart() -> Result<String> {
    Ok(Mesh::chart().to_str().context("a path that is not UTF-8")?.to_owned())
}
