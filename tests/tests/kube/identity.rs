//! Who gets a certificate: pods, by the tokens that the API server itself has made for them, and nobody else.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::{Api, ListParams};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;
use weft_api::istio_ca::IstioCertificateRequest;
use weft_api::istio_ca::istio_certificate_service_client::IstioCertificateServiceClient;
use weft_certs::bundle::TrustBundle;
use weft_certs::key::KeyPair;
use weft_certs::spiffe::SpiffeId;
use weft_certs::tls;
use weft_tests::kube::{Cluster, SYSTEM_NAMESPACE, Suite};

use crate::LIMIT;
use crate::pods::{NAMESPACE, deploy};

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("a pod's own token gets it a certificate, and no other token does", LIMIT, attested);
}

async fn attested(cluster: Arc<Cluster>) -> Result<()> {
    let pod = deploy(&cluster, "api", 1, "").await?;
    let web = deploy(&cluster, "web", 1, "").await?;
    let uid = ["get", "pod", "-n", NAMESPACE, &pod, "-o", "jsonpath={.metadata.uid}"];
    let uid = cluster.kubectl(uid).await?;

    let good = token(&cluster, "api", "weft", Some(&pod)).await?;
    let chain = sign(&cluster, &good).await.context("the pod's own token")?;
    ensure!(chain.first().is_some_and(|pem| pem.contains("BEGIN CERTIFICATE")), "it got no certificate: {chain:?}");

    let refused = [
        ("for another audience", token(&cluster, "api", "somebody-else", Some(&pod)).await?),
        ("bound to no pod", token(&cluster, "api", "weft", None).await?),
        ("of another service account, bound to no pod of it", token(&cluster, "default", "weft", None).await?),
        ("that nobody has signed", "not.a.token".to_owned()),
    ];
    for (what, token) in refused {
        let said = sign(&cluster, &token).await.err().with_context(|| format!("a token {what} gets a certificate"))?;
        eprintln!("    a token {what}: {said:#}");
    }
    // The API server makes no token of one service account for the pod of another.
    ensure!(token(&cluster, "api", "weft", Some(&web)).await.is_err(), "api has a token of the pod {web}");

    cluster.kubectl(["delete", "pod", "-n", NAMESPACE, &pod, "--grace-period=0", "--force"]).await?;
    let said = weft_cli::world::wait_until("the deleted pod's token to be refused", LIMIT / 4, async || {
        sign(&cluster, &good).await.err().with_context(|| format!("the pod {uid} is gone, and still gets certificates"))
    })
    .await?;
    eprintln!("    the token of a pod that is gone: {said:#}");
    Ok(())
}

async fn token(cluster: &Cluster, account: &str, audience: &str, pod: Option<&str>) -> Result<String> {
    let mut command = cluster.command("kubectl");
    command.args(["create", "token", account, "-n", NAMESPACE, "--audience", audience]);
    if let Some(pod) = pod {
        command.args(["--bound-object-kind", "Pod", "--bound-object-name", pod]);
    }
    let output = command.output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Asks a replica of the control plane for a certificate, as a proxy does.
async fn sign(cluster: &Cluster, token: &str) -> Result<Vec<String>> {
    tls::install_provider();
    let pods: Api<Pod> = Api::namespaced(cluster.client(), SYSTEM_NAMESPACE);
    let replicas = pods.list(&ListParams::default().labels("app.kubernetes.io/name=weft-control")).await?;
    let address = replicas.items.into_iter().find_map(|pod| pod.status?.pod_ip).context("no control plane")?;
    let address = SocketAddr::new(address.parse()?, weft_api::ports::CONTROL_XDS);
    let bundle = Api::<ConfigMap>::namespaced(cluster.client(), NAMESPACE).get("weft-trust-bundle").await?;
    let bundle = bundle.data.and_then(|mut data| data.remove("trust-bundle.pem")).context("no trust bundle")?;
    let expected = SpiffeId::control_plane(&"cluster.local".parse()?)?;
    let connector =
        TlsConnector::from(tls::control_client(None, &TrustBundle::from_pem(bundle.as_bytes())?, &expected));
    let name = tls::server_name(&expected);
    let connect = tower::service_fn(move |_| {
        let (connector, name) = (connector.clone(), name.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            std::io::Result::Ok(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    let channel = Endpoint::from_static("http://weft-control").connect_with_connector(connect).await?;
    let mut request = tonic::Request::new(IstioCertificateRequest {
        csr: KeyPair::generate()?.csr_pem()?,
        ..IstioCertificateRequest::default()
    });
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse()?);
    let answer = IstioCertificateServiceClient::new(channel).create_certificate(request).await;
    Ok(answer.map_err(|status| anyhow::anyhow!("{:?}: {}", status.code(), status.message()))?.into_inner().cert_chain)
}
