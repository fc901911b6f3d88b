use std::time::Duration;

use h2::Reason;
use tokio::task::LocalSet;

use super::*;

/// More than the peer's window takes: it is never sent whole to who doesn't read.
const LONG: usize = 1 << 20;

#[tokio::test]
async fn a_request_that_is_given_up_takes_its_upload_along() {
    let test = async {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (sender, server) =
            tokio::join!(open(near, Builder::new(), "the peer".to_owned()), h2::server::handshake(far));
        let (sender, mut server) = (sender.unwrap(), server.unwrap());
        let mut request = Request::post("http://api/").body(Body::text(vec![0; LONG])).unwrap();
        let sending = spawn_local(async move { send(sender, &mut request).await.is_ok() });
        let (request, _respond) = server.accept().await.unwrap().unwrap();
        spawn_local(async move { while server.accept().await.is_some() {} });
        sending.abort();
        let mut body = request.into_body();
        let error = loop {
            if let Err(error) = body.data().await.expect("it must not look ended") {
                break error;
            }
        };
        assert_eq!(error.reason(), Some(Reason::CANCEL));
    };
    let limited = tokio::time::timeout(Duration::from_secs(20), test);
    LocalSet::new().run_until(limited).await.expect("the upload goes on waiting");
}
