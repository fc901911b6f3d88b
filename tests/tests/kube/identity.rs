//! Who gets a certificate: pods, by the tokens that the API server itself has made for them, and nobody else.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use tonic::{Code, Status};
use weft_tests::kube::{Cluster, Suite};

use crate::LIMIT;
use crate::certificates::{ask, bundle, given, replicas, token};
use crate::pods::{NAMESPACE, deploy};

pub(crate) fn add(suite: &mut Suite) {
    suite.trial("a pod's own token gets it a certificate, and no other token does", LIMIT, attested);
}

async fn attested(cluster: Arc<Cluster>) -> Result<()> {
    let pod = deploy(&cluster, "api", 1, "").await?;
    let web = deploy(&cluster, "web", 1, "").await?;
    let replica = replicas(&cluster).await?.swap_remove(0);
    let roots = bundle(&cluster, NAMESPACE).await?;
    let token_of = async |account, audience, pod| token(&cluster, (NAMESPACE, account), audience, pod).await;

    let good = token_of("api", "weft", Some(&*pod)).await?;
    let issued = given(&cluster, &replica, &roots, &good).await.context("the pod's own token")?;
    issued.verify(NAMESPACE, "api", &roots).context("the certificate that it got")?;

    let refused = [
        ("for another audience", token_of("api", "somebody-else", Some(&*pod)).await?),
        ("bound to no pod", token_of("api", "weft", None).await?),
        ("of another service account, bound to no pod of it", token_of("default", "weft", None).await?),
        ("that nobody has signed", "not.a.token".to_owned()),
    ];
    for (what, token) in refused {
        let said = refusal(ask(&cluster, &replica, &roots, Some(&token)).await?, what)?;
        ensure!(said.code() == Code::Unauthenticated, "a token {what}: {said:?}");
        eprintln!("    a token {what}: {}", said.message());
    }
    // The API server makes no token of one service account for the pod of another.
    ensure!(token_of("api", "weft", Some(&*web)).await.is_err(), "api has a token of the pod {web}");

    cluster.kubectl(["delete", "pod", "-n", NAMESPACE, &pod, "--grace-period=0", "--force"]).await?;
    let said = weft_cli::world::wait_until("the deleted pod's token to be refused", LIMIT / 4, async || {
        refusal(ask(&cluster, &replica, &roots, Some(&good)).await?, "of a pod that is gone")
    })
    .await?;
    eprintln!("    the token of a pod that is gone: {}", said.message());
    Ok(())
}

fn refusal<T>(answer: Result<T, Status>, what: &str) -> Result<Status> {
    match answer {
        Ok(_) => bail!("a token {what} gets a certificate"),
        Err(status) => Ok(status),
    }
}
