//! A client of HTTP/2 with prior knowledge.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Error, Result, ensure};
use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Tally;

/// `streams` requests at once, again and again, on one connection.
pub(super) async fn keep_asking(at: SocketAddr, streams: usize, tally: &Arc<Tally>) -> Result<()> {
    let mut tasks = JoinSet::new();
    let sender = open(at, &mut tasks).await?;
    for _ in 0..streams {
        let (mut sender, tally) = (sender.clone(), Arc::clone(tally));
        tasks.spawn(async move {
            let request = request()?;
            while tally.goes_on() {
                sender = ask(sender, request.clone()).await?;
                tally.answered();
            }
            Ok(())
        });
    }
    drop(sender);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// One request on a connection of its own.
pub(crate) async fn ask_once(at: SocketAddr) -> Result<()> {
    let mut tasks = JoinSet::new();
    let sender = open(at, &mut tasks).await?;
    ask(sender, request()?).await.map(drop)
}

/// Opens a connection, which is driven by one of the tasks.
async fn open(at: SocketAddr, tasks: &mut JoinSet<Result<()>>) -> Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    tasks.spawn(async move { connection.await.map_err(Error::from) });
    Ok(sender)
}

fn request() -> Result<Request<()>> {
    Ok(Request::get("http://api/").body(())?)
}

/// Sends a request and reads the whole answer, which has to be a 200; gives the sender back.
async fn ask(sender: SendRequest<Bytes>, request: Request<()>) -> Result<SendRequest<Bytes>> {
    let mut sender = sender.ready().await?;
    let (response, _) = sender.send_request(request, true)?;
    let response = response.await?;
    ensure!(response.status() == StatusCode::OK, "the answer is {}", response.status());
    let mut body = response.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    Ok(sender)
}
