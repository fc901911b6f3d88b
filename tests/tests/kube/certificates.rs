//! Certificates, asked for as a proxy asks: of one replica of the control plane, by a token.

use anyhow::{Result, bail, ensure};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use tonic::{Request, Status};
use weft_api::istio_ca::IstioCertificateRequest;
use weft_api::istio_ca::istio_certificate_service_client::IstioCertificateServiceClient;
use weft_api::ports;
use weft_certs::bundle::TrustBundle;
use weft_certs::identity::{WorkloadIdentity, split_roots};
use weft_certs::key::KeyPair;
use weft_certs::spiffe::SpiffeId;
use weft_certs::tls;
use weft_tests::kube::{Cluster, SYSTEM_NAMESPACE};

/// What is given to a proxy.
pub(crate) struct Issued {
    key: KeyPair,
    /// The proxy's certificate, and what leads from it to a root.
    pub(crate) chain: Vec<String>,
    /// What the proxy is to believe.
    pub(crate) roots: TrustBundle,
}

impl Issued {
    /// Fails unless the certificate is a service account's, and a proxy that has these roots believes it.
    pub(crate) fn verify(&self, namespace: &str, account: &str, roots: &TrustBundle) -> Result<()> {
        let id = SpiffeId::new(&"cluster.local".parse()?, namespace, account)?;
        WorkloadIdentity::from_parts(id, &self.key, &self.chain, roots.clone())?;
        Ok(())
    }
}

/// The control plane's pods, by name, without those that are on their way out.
pub(crate) async fn replicas(cluster: &Cluster) -> Result<Vec<String>> {
    let pods: Api<Pod> = Api::namespaced(cluster.client(), SYSTEM_NAMESPACE);
    let pods = pods.list(&ListParams::default().labels("app.kubernetes.io/name=weft-control")).await?;
    let stay = pods.items.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let names: Vec<_> = stay.filter_map(|pod| pod.metadata.name).collect();
    ensure!(!names.is_empty(), "there is no control plane");
    Ok(names)
}

/// The roots, as a namespace has them.
pub(crate) async fn bundle(cluster: &Cluster, namespace: &str) -> Result<TrustBundle> {
    let path = "jsonpath={.data.trust-bundle\\.pem}";
    let pem = cluster.kubectl(["get", "configmap", "weft-trust-bundle", "-n", namespace, "-o", path]).await?;
    Ok(TrustBundle::from_pem(pem.as_bytes())?)
}

/// A token that the API server makes for a service account, and for a pod of it.
pub(crate) async fn token(
    cluster: &Cluster,
    (namespace, account): (&str, &str),
    audience: &str,
    pod: Option<&str>,
) -> Result<String> {
    let mut kubectl = cluster.command("kubectl");
    kubectl.args(["create", "token", account, "-n", namespace, "--audience", audience]);
    if let Some(pod) = pod {
        kubectl.args(["--bound-object-kind", "Pod", "--bound-object-name", pod]);
    }
    let output = kubectl.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Asks a replica for a certificate; gives what it answers.
pub(crate) async fn ask(
    cluster: &Cluster,
    replica: &str,
    roots: &TrustBundle,
    token: Option<&str>,
) -> Result<Result<Issued, Status>> {
    tls::install_provider();
    let expected = SpiffeId::control_plane(&"cluster.local".parse()?)?;
    let connector = TlsConnector::from(tls::control_client(None, roots, &expected));
    let stream = cluster.forward(SYSTEM_NAMESPACE, replica, ports::CONTROL_XDS).await?;
    let stream = connector.connect(tls::server_name(&expected), stream).await?;
    let mut stream = Some(TokioIo::new(stream));
    let connector = tower::service_fn(move |_| {
        let stream = stream.take();
        async move { stream.ok_or_else(|| std::io::Error::other("the connection is used up")) }
    });
    let channel = Endpoint::from_static("http://weft-control").connect_with_connector(connector).await?;
    let key = KeyPair::generate()?;
    let mut request = Request::new(IstioCertificateRequest { csr: key.csr_pem()?, ..<_>::default() });
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    }
    let answer = match IstioCertificateServiceClient::new(channel).create_certificate(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => return Ok(Err(status)),
    };
    let (chain, roots) = split_roots(&answer.cert_chain)?;
    Ok(Ok(Issued { key, chain, roots }))
}

/// Asks a replica for a certificate, and has it.
pub(crate) async fn given(cluster: &Cluster, replica: &str, roots: &TrustBundle, token: &str) -> Result<Issued> {
    match ask(cluster, replica, roots, Some(token)).await? {
        Ok(issued) => Ok(issued),
        Err(status) => bail!("{replica} refuses: {:?}: {}", status.code(), status.message()),
    }
}
