//! The CA of the cluster: for whom it signs when pods are made anew, and what becomes of its Secret.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use weft_api::istio_ca::IstioCertificateRequest;
use weft_api::istio_ca::istio_certificate_service_client::IstioCertificateServiceClient;
use weft_certs::bundle::TrustBundle;
use weft_certs::identity::split_roots;
use weft_certs::key::KeyPair;
use weft_certs::spiffe::SpiffeId;
use weft_certs::tls;
use weft_cli::world::wait_until;
use weft_tests::kube::{Cluster, SYSTEM_NAMESPACE, Suite};

use crate::LIMIT;

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("a token of a pod that was made anew under its name gives no certificate any more", LIMIT, made_anew);
    suite.trial("a root that is added to the CA's Secret is handed out by every replica", LIMIT, roots);
}

const NAMESPACE: &str = "authority";

/// What binds a token to the pod.
const BOUND: [&str; 2] = ["--bound-object-kind=Pod", "--bound-object-name=web-1"];

/// A pod that is never started: tokens for it are made all the same.
fn pod(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: web, namespace: {NAMESPACE}}}\n---\n\
         apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\n\
         spec:\n  serviceAccountName: web\n  schedulingGates: [{{name: weft.test/never}}]\n  \
         containers: [{{name: app, image: 'weft.test/echo:test'}}]\n"
    )
}

async fn made_anew(cluster: Arc<Cluster>) -> Result<()> {
    cluster.namespace(NAMESPACE, "").await?;
    cluster.apply(&pod("web-1")).await?;
    let control = replicas(&cluster).await?.first().copied().context("no replica is ready")?;
    let roots = bundle(&cluster).await?;
    let first = token(&cluster, "web", "weft", &BOUND).await?;
    let chain = ask(control, &roots, Some(&first)).await.map_err(|status| anyhow!("{status}"))?;
    ensure!(chain.len() >= 3, "{} certificates", chain.len());
    refused(control, &roots, None, "no credentials").await?;

    cluster.kubectl(["delete", "pod", "web-1", "-n", NAMESPACE, "--now"]).await?;
    cluster.apply(&pod("web-1")).await?;
    // Remembered, so that the API server is not asked: the pod of the registry is another one.
    refused(control, &roots, Some(&first), "which the token is bound to, is not in the registry").await?;
    let second = token(&cluster, "web", "weft", &BOUND).await?;
    ask(control, &roots, Some(&second)).await.map_err(|status| anyhow!("{status}"))?;
    Ok(())
}

async fn roots(cluster: Arc<Cluster>) -> Result<()> {
    cluster.namespace(NAMESPACE, "").await?;
    cluster.apply(&pod("web-1")).await?;
    let token = token(&cluster, "web", "weft", &BOUND).await?;
    let before = bundle(&cluster).await?;
    let other = weft_certs::authority::AuthorityPem::create(&"cluster.local".parse()?)?;
    patch_root(&cluster, &format!("{}{}", before.to_pem(), other.root_crt)).await?;
    let count = before.root_count() + 1;
    wait_until("the roots in every namespace", LIMIT, async || {
        let now = bundle(&cluster).await?;
        ensure!(now.root_count() == count, "{now:?}");
        Ok(())
    })
    .await?;
    for replica in replicas(&cluster).await? {
        wait_until("a replica to hand out both roots", LIMIT, async || {
            let chain = ask(replica, &before, Some(&token)).await.map_err(|status| anyhow!("{status}"))?;
            let (_, given) = split_roots(&chain)?;
            ensure!(given.root_count() == count, "{replica} hands out {given:?}");
            Ok(())
        })
        .await?;
    }
    patch_root(&cluster, &before.to_pem()).await?;
    wait_until("the root to be gone again", LIMIT, async || {
        ensure!(bundle(&cluster).await? == before, "it is still there");
        Ok(())
    })
    .await?;
    cluster.kubectl(["delete", "namespace", NAMESPACE]).await?;
    Ok(())
}

async fn token(cluster: &Cluster, account: &str, audience: &str, bound: &[&str]) -> Result<String> {
    let mut kubectl = cluster.command("kubectl");
    kubectl.args(["create", "token", account, "-n", NAMESPACE, &format!("--audience={audience}")]).args(bound);
    let output = kubectl.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

async fn patch_root(cluster: &Cluster, pem: &str) -> Result<()> {
    let patch = serde_json::json!({"stringData": {"root.crt": pem}}).to_string();
    cluster.kubectl(["patch", "secret", "weft-ca", "-n", SYSTEM_NAMESPACE, "--type=merge", "-p", &patch]).await?;
    Ok(())
}

/// The roots, as every namespace has them.
async fn bundle(cluster: &Cluster) -> Result<TrustBundle> {
    let path = "jsonpath={.data.trust-bundle\\.pem}";
    let pem = cluster.kubectl(["get", "configmap", "weft-trust-bundle", "-n", "default", "-o", path]).await?;
    Ok(TrustBundle::from_pem(pem.as_bytes())?)
}

/// Where the control plane's pods take in proxies.
async fn replicas(cluster: &Cluster) -> Result<Vec<SocketAddr>> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), SYSTEM_NAMESPACE);
    let pods = pods.list(&ListParams::default().labels("app.kubernetes.io/name=weft-control")).await?;
    let live = pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let addresses = live.filter_map(|pod| pod.status?.pod_ip?.parse().ok());
    Ok(addresses.map(|address| SocketAddr::new(address, 15012)).collect())
}

async fn connect(control: SocketAddr, roots: &TrustBundle) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let expected = SpiffeId::control_plane(&"cluster.local".parse()?)?;
    let connector = TlsConnector::from(tls::control_client(None, roots, &expected));
    Ok(connector.connect(tls::server_name(&expected), TcpStream::connect(control).await?).await?)
}

/// What is answered to a request for a certificate.
async fn ask(control: SocketAddr, roots: &TrustBundle, token: Option<&str>) -> Result<Vec<String>, Status> {
    let failed = |error: anyhow::Error| Status::internal(format!("{error:?}"));
    let stream = connect(control, roots).await.map_err(failed)?;
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| std::io::Error::other("the connection is used up")) }
    });
    let channel = Endpoint::from_static("http://weft-control").connect_with_connector(connector).await;
    let channel = channel.map_err(|error| failed(error.into()))?;
    let key = KeyPair::generate().map_err(|error| failed(error.into()))?;
    let csr = key.csr_pem().map_err(|error| failed(error.into()))?;
    let mut request = Request::new(IstioCertificateRequest { csr, ..IstioCertificateRequest::default() });
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().map_err(|_| Status::internal("the token is no header"))?;
        request.metadata_mut().insert("authorization", value);
    }
    let answer = IstioCertificateServiceClient::new(channel).create_certificate(request).await?.into_inner();
    split_roots(&answer.cert_chain).map_err(|error| failed(error.into()))?;
    Ok(answer.cert_chain)
}

async fn refused(control: SocketAddr, roots: &TrustBundle, token: Option<&str>, text: &str) -> Result<()> {
    match ask(control, roots, token).await {
        Ok(_) => bail!("a certificate is given, where {text:?} is expected"),
        Err(status) if status.message().contains(text) => Ok(()),
        Err(status) => bail!("{text:?} is expected: {status}"),
    }
}
