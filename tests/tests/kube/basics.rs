//! The cluster itself: what all other trials stand on.

use std::sync::Arc;

use anyhow::{Result, ensure};
use weft_tests::kube::{Cluster, Suite};

use crate::LIMIT;

pub(crate) fn add(suite: &mut Suite) {
    suite.bare("a pod of the cluster runs, is ready and answers by its Service's name", LIMIT, answers);
}

const ECHO: &str = "
apiVersion: v1
kind: Pod
metadata: {name: echo, namespace: basics, labels: {app: echo}}
spec:
  automountServiceAccountToken: false
  containers:
  - name: echo
    image: weft.test/echo:test
    args: [--port=8080]
    readinessProbe: {httpGet: {port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: basics}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
";

async fn answers(cluster: Arc<Cluster>) -> Result<()> {
    cluster.namespace("basics", "").await?;
    cluster.apply(ECHO).await?;
    cluster.pod_ready("basics", "echo").await?;
    let said = cluster.exec("basics", "echo", "echo", ["client", "http://echo.basics.svc.cluster.local/"]).await?;
    ensure!(said.contains("StatusCode=200") && said.contains("Hostname=echo"), "{said}");
    Ok(())
}
