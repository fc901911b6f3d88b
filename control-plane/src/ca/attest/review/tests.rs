use std::collections::{BTreeMap, VecDeque};

use k8s_openapi::api::authentication::v1::UserInfo;
use tonic::Code;

use super::*;
use crate::mesh::testing::mesh;

/// Answers one after the other, and then none.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<VecDeque<Result<Review, ReviewError>>>>);

#[tonic::async_trait]
impl Reviews for Script {
    async fn review(&self, _token: &str) -> Result<Review, ReviewError> {
        self.0.lock().pop_front().unwrap_or_else(|| Err(ReviewError::Unavailable("connection refused".to_owned())))
    }
}

struct World {
    attestor: ByTokenReview,
    script: Script,
    mesh: watch::Sender<Arc<Mesh>>,
}

fn pod(uid: &str, account: &str) -> Arc<Mesh> {
    let metadata = format!("{{name: web-1, namespace: shop, uid: {uid:?}}}");
    let text = format!("apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec: {{serviceAccountName: {account}}}\n");
    Arc::new(mesh(&text))
}

impl World {
    fn new(answers: impl IntoIterator<Item = Result<Review, ReviewError>>) -> Self {
        let script = Script::default();
        script.0.lock().extend(answers);
        let (sender, receiver) = watch::channel(pod("u1", "web"));
        let domain = "cluster.local".parse().unwrap();
        let mut attestor = ByTokenReview::new(Box::new(script.clone()), receiver, domain, Counted::default());
        attestor.lag = Duration::from_millis(200);
        Self { attestor, script, mesh: sender }
    }

    async fn show(&self, token: &str) -> Result<String, Status> {
        let mut metadata = MetadataMap::new();
        metadata.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let id = self.attestor.attest(&metadata, &Extensions::new()).await?;
        Ok(id.unwrap().as_str().to_owned())
    }

    async fn refused(&self, token: &str, code: Code, text: &str) {
        let status = self.show(token).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().contains(text), "{status}");
    }

    fn counted(&self, result: &str) -> u64 {
        self.attestor.counted.get_or_create(&vec![("result".to_owned(), result.to_owned())]).get()
    }

    /// As if the last review were long ago.
    fn age(&self) {
        self.attestor.known.lock().values_mut().for_each(|known| known.at -= FRESH);
    }
}

fn good() -> Result<Review, ReviewError> {
    let (service_account, pod) = (ObjectName::new("shop", "web"), ObjectName::new("shop", "web-1"));
    Ok(Review { service_account, pod, pod_uid: "u1".into() })
}

/// A token that ends in so many seconds, which may be negative.
fn token(left: i64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let payload = URL_SAFE_NO_PAD.encode(format!("{{\"exp\": {}}}", now.saturating_add_signed(left)));
    format!("e30.{payload}.c2ln")
}

const WEB: &str = "spiffe://cluster.local/ns/shop/sa/web";

#[tokio::test]
async fn a_token_of_a_pod_that_is_there_is_its_service_accounts() {
    let world = World::new([good()]);
    let token = token(600);
    assert_eq!(world.show(&token).await.unwrap(), WEB);
    // It is not asked again for the same one at once; there is no second answer.
    assert_eq!(world.show(&token).await.unwrap(), WEB);
    assert_eq!((world.counted("accepted"), world.counted("remembered")), (1, 1));
    let none = world.attestor.attest(&MetadataMap::new(), &Extensions::new()).await.unwrap();
    assert_eq!(none, None);
}

#[tokio::test]
async fn what_is_known_counts_while_the_api_server_is_away_until_the_tokens_end() {
    let world = World::new([good(), good()]);
    let (long, ended) = (token(600), token(-1));
    assert_eq!(world.show(&long).await.unwrap(), WEB);
    world.age();
    assert_eq!(world.show(&long).await.unwrap(), WEB);
    world.age();
    assert_eq!(world.show(&long).await.unwrap(), WEB);
    world.script.0.lock().push_back(good());
    assert_eq!(world.show(&ended).await.unwrap(), WEB);
    world.refused(&ended, Code::Unavailable, "connection refused").await;
    world.refused(&token(500), Code::Unavailable, "can't be asked").await;
}

#[tokio::test]
async fn a_token_that_was_revoked_is_forgotten() {
    let world = World::new([good(), Err(ReviewError::Refused("gone".to_owned()))]);
    let token = token(600);
    assert_eq!(world.show(&token).await.unwrap(), WEB);
    world.age();
    world.refused(&token, Code::Unauthenticated, "gone").await;
    world.refused(&token, Code::Unavailable, "connection refused").await;
    assert_eq!((world.counted("refused"), world.counted("unavailable")), (1, 1));
}

#[tokio::test]
async fn the_pod_has_to_be_there_still_as_the_token_says() {
    let world = World::new([good()]);
    let token = token(600);
    assert_eq!(world.show(&token).await.unwrap(), WEB);
    world.mesh.send_replace(pod("u2", "web"));
    world.refused(&token, Code::Unavailable, "pod shop/web-1 with uid u1").await;
    world.mesh.send_replace(pod("u1", "api"));
    world.refused(&token, Code::Unauthenticated, "does not run as service account shop/web").await;
    // A pod that the registry learns of a moment later.
    world.mesh.send_replace(Arc::new(mesh("")));
    let come = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.mesh.send_replace(pod("u1", "web"));
    };
    let (shown, ()) = tokio::join!(world.show(&token), come);
    assert_eq!(shown.unwrap(), WEB);
}

#[tokio::test]
async fn a_token_of_no_clusters_size_is_not_asked_about() {
    let world = World::new([good()]);
    world.refused(&"x".repeat(MAX_TOKEN_BYTES + 1), Code::Unauthenticated, "has 16385 bytes").await;
    assert_eq!(world.script.0.lock().len(), 1);
}

#[test]
fn an_answer_is_refused_unless_it_vouches_for_a_pod() {
    let status = |audience: &str, name: &str, extra: &[(&str, &str)]| TokenReviewStatus {
        authenticated: Some(true),
        audiences: Some(vec![audience.to_owned()]),
        error: None,
        user: Some(UserInfo {
            username: Some(name.to_owned()),
            extra: Some(
                extra
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), vec![(*value).to_owned()]))
                    .collect::<BTreeMap<_, _>>(),
            ),
            ..UserInfo::default()
        }),
    };
    let (web, bound) = ("system:serviceaccount:shop:web", [(POD_NAME, "web-1"), (POD_UID, "u1")]);
    assert_eq!(read(status("weft", web, &bound)), good());
    let refused = |status, text: &str| {
        let error = read(status).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    };
    refused(status("https://kubernetes.default.svc", web, &bound), "not made for the audience \"weft\"");
    refused(status("weft", "system:node:a", &bound), "\"system:node:a\"'s, which is no service account");
    refused(status("weft", web, &bound[..1]), "shop/web is not bound to a pod");
    refused(status("weft", web, &[]), "shop/web is not bound to a pod");
    let mut unknown = status("weft", web, &bound);
    (unknown.authenticated, unknown.error) = (Some(false), Some("expired".to_owned()));
    refused(unknown, "doesn't accept the token (expired)");
    refused(TokenReviewStatus::default(), "no reason is given");
}
