//! Probes that the kubelet makes by HTTPS, of applications whose sidecars take in nobody without a certificate.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use weft_tests::kube::{Cluster, Suite};

use crate::LIMIT;
use crate::pods::{NAMESPACE, deploy, pod_of, rolled_out};

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("HTTPS probes find an application behind strict mutual TLS, where others find nothing", LIMIT, https);
}

/// An application with a certificate of its own, which no probe could verify, and a client outside of the mesh.
const SECURE: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: secure, namespace: pods}
spec:
  selector: {matchLabels: {app: secure}}
  template:
    metadata: {labels: {app: secure}, annotations: {weft.dev/mtls: strict}}
    spec:
      containers:
      - name: echo
        image: weft.test/echo:test
        args: [--port=8080, --port=8443, --tls=8443, --crt=/cert.crt, --key=/cert.key]
        ports: [{name: https, containerPort: 8443}]
        readinessProbe: {httpGet: {scheme: HTTPS, port: https, path: /ready}, periodSeconds: 1}
        livenessProbe: {httpGet: {scheme: HTTPS, port: 8443}, periodSeconds: 2}
---
apiVersion: v1
kind: Service
metadata: {name: secure, namespace: pods}
spec: {selector: {app: secure}, ports: [{name: https, port: 443, targetPort: https}]}
---
apiVersion: v1
kind: Pod
metadata: {name: outsider, namespace: plain}
spec: {containers: [{name: echo, image: 'weft.test/echo:test'}]}
";

async fn https(cluster: Arc<Cluster>) -> Result<()> {
    cluster.namespace("plain", "").await?;
    deploy(&cluster, "api", 1, "").await?;
    let web = deploy(&cluster, "web", 1, "").await?;
    cluster.apply(SECURE).await?;
    rolled_out(&cluster, "secure").await?;
    let pod = pod_of(&cluster, "secure").await?;
    let injected = ["get", "pod", "-n", NAMESPACE, &pod, "-o", r"jsonpath={.metadata.annotations.weft\.dev/status}"];
    let injected = cluster.kubectl(injected).await?;
    ensure!(injected == "injected", "there is no sidecar: {injected:?}");

    let url = "https://secure.pods.svc.cluster.local/";
    let said = cluster.exec(NAMESPACE, &web, "echo", ["client", "-k", url]).await?;
    ensure!(said.contains("StatusCode=200") && said.contains("Hostname=secure-"), "{said}");
    cluster.pod_ready("plain", "outsider").await?;
    let outside = async |url| cluster.exec("plain", "outsider", "echo", ["client", "-k", url]).await;
    let said = outside("http://api.pods.svc.cluster.local/").await.context("without a sidecar, where it may ask")?;
    ensure!(said.contains("StatusCode=200"), "{said}");
    let refused = outside(url).await;
    ensure!(refused.is_err(), "who has no certificate is answered: {refused:?}");

    let ready = cluster.pod_ready(NAMESPACE, &pod).await?;
    let containers = ready.status.and_then(|status| status.container_statuses).unwrap_or_default();
    ensure!(containers.iter().all(|container| container.restart_count == 0), "its probes fail: {containers:?}");
    Ok(())
}
