//! Applications that run in this process, inside a pod's namespace.

mod act;
mod http;
mod raw;
mod stage;

use std::future::Future;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream};
use weft_cli::world::Pod;

pub use self::act::Act;
pub use self::http::{GRPC_ECHO, h1, h2c, named};
pub use self::raw::{
    GREETING, Script, Scripted, echo, endless, greet_first, read_all_then_answer, resetting, sink, tls_echo,
};
pub use self::stage::{Connections, SCENE, Seen, Stage};

/// Serves `port` of the pod, IPv4 and IPv6: each connection is a task of its own. Returns once the port is open.
///
/// # Errors
/// Where the port cannot be opened.
pub async fn serve<H, F>(pod: &Pod, port: u16, handler: H) -> Result<()>
where
    H: Fn(TcpStream) -> F + Send + 'static,
    F: Future<Output = Result<()>> + Send + 'static,
{
    let listener = pod.run(async move { Ok(TcpListener::bind(("::", port)).await?) }).await;
    let listener = listener.with_context(|| format!("cannot open port {port} of {}", pod.name()))?;
    drop(pod.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // Clients that go away are part of what is tested; what matters is asserted on the clients' side.
            drop(tokio::spawn(handler(stream)));
        }
    }));
    Ok(())
}
