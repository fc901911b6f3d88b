//! The real binary: what it wrote survives `kill -9`, and SIGTERM ends it well.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::support::{Folders, LONG, http};

const SPLIT: &str = "/v1/namespaces/shop/services/api/split";

struct Process {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
    api: SocketAddr,
}

async fn start(folders: &Folders) -> Process {
    let mut child = command(folders).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let ready = async {
        loop {
            let line = log.next_line().await.unwrap().expect("the process goes on");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["fields"]["message"] == "the control plane is ready" {
                return line["fields"]["api"].as_str().unwrap().parse().unwrap();
            }
        }
    };
    let api = tokio::time::timeout(LONG, ready).await.expect("the control plane to be ready");
    Process { child, log, api }
}

fn command(folders: &Folders) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft-control"));
    command.arg("run").args(folders.flags()).arg("--log-format=json").env_clear().kill_on_drop(true);
    command
}

#[tokio::test]
async fn what_was_answered_survives_kill_9() {
    let folders = Folders::new();
    let mut process = start(&folders).await;
    for version in 1..=3 {
        let body = format!(r#"{{"backends": [{{"service": "v1", "weight": {version}}}]}}"#);
        let set = http(process.api, &format!("PUT {SPLIT}"), &[], &body).await;
        assert_eq!(set.json()["version"], version, "{set:?}");
    }
    process.child.kill().await.unwrap();
    let process = start(&folders).await;
    let got = http(process.api, &format!("GET {SPLIT}"), &[], "").await.json();
    assert_eq!((&got["version"], &got["backends"][0]["weight"]), (&3.into(), &3.into()));
}

#[tokio::test]
async fn sigterm_ends_it_well_and_soon() {
    let folders = Folders::new();
    let mut process = start(&folders).await;
    let mut watch = crate::support::lines(process.api, "GET /v1/splits:watch").await;
    crate::support::json_line(&mut watch).await;
    let began = Instant::now();
    let pid = process.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let ended = tokio::time::timeout(LONG, process.child.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(process.log.next_line().await.unwrap().is_some_and(|line| line.contains("stopping")));
}

#[tokio::test]
async fn an_open_api_without_a_token_does_not_start() {
    let folders = Folders::new();
    let flags = folders.flags().into_iter().filter(|flag| !flag.starts_with("--api-addr="));
    let mut command = Command::new(env!("CARGO_BIN_EXE_weft-control"));
    let output = command.arg("run").args(flags).arg("--api-addr=0.0.0.0:0").env_clear().output().await.unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("set WEFT_API_TOKEN_FILE"), "{error}");
}
