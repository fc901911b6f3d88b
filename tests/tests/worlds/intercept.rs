//! `weft-proxy intercept`: which connections are led to the proxy, and which are not.
//!
//! No proxy runs here: a listener in its place says which door a connection came in by, and where it was bound for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use weft_cli::world::{Pod, World, proxy_program};
use weft_tests::{apps, client, trial};

const LIMIT: Duration = Duration::from_secs(60);
const MARK: u32 = 1337;
const MARKED: &[&str] = &["--proxy-mark", "1337"];
const APP: u16 = 8080;
const SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 80);
const SERVICE_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, 10)), 80);

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for backend in ["nft", "iptables"] {
        let mut add = |name: &str, test: Test| {
            trials.push(trial(&format!("{backend}: {name}"), LIMIT, move |world| test(world, backend)));
        };
        add("outbound connections come to the proxy", |w, b| Box::pin(outbound(w, b)));
        add("inbound connections come to the proxy, save to its own ports", |w, b| Box::pin(inbound(w, b)));
        add("loopback is left alone", |w, b| Box::pin(loopback(w, b)));
        add("the proxy's own traffic is exempt", |w, b| Box::pin(own_traffic(w, b)));
        add("ports and networks can be skipped", |w, b| Box::pin(skips(w, b)));
        add("open connections stay as they are", |w, b| Box::pin(open_connections(w, b)));
        add("installing again replaces", |w, b| Box::pin(idempotent(w, b)));
        add("removing takes its own and nothing else", |w, b| Box::pin(removal(w, b)));
        add("printing changes nothing", |w, b| Box::pin(printing(w, b)));
        add("UDP is left alone", |w, b| Box::pin(udp(w, b)));
    }
    trials.push(trial("auto: what the kernel can't do by nft is done by iptables", LIMIT, fallback));
    for backend in ["nft", "iptables", "auto"] {
        let name = format!("{backend}: CAP_NET_ADMIN and a read-only file system are enough");
        trials.push(trial(&name, LIMIT, move |world| least_privilege(world, backend)));
    }
    trials
}

type Test = fn(World, &'static str) -> std::pin::Pin<Box<dyn Future<Output = Result<()>>>>;

async fn outbound(world: World, backend: &str) -> Result<()> {
    let (pod, other) = (pod_with_doors(&world, "web").await?, pod_with_app(&world, "api").await?);
    intercept(&pod, backend, MARKED)?;
    for target in [SERVICE, SERVICE_V6, other.address(APP), other.address_v6(APP)] {
        ensure!(reached(&pod, target).await? == format!("outbound {target}"), "{target} does not come to the proxy");
    }
    Ok(())
}

async fn inbound(world: World, backend: &str) -> Result<()> {
    let (pod, other) = (pod_with_doors(&world, "api").await?, world.pod("web").start().await?);
    intercept(&pod, backend, MARKED)?;
    for target in [pod.address(APP), pod.address_v6(APP), pod.address(4242)] {
        ensure!(reached(&other, target).await? == format!("inbound {target}"), "{target} does not come to the proxy");
    }
    for port in [15008, 15020] {
        let came = reached(&other, pod.address(port)).await?;
        ensure!(came == format!("direct {}", pod.address(port)), "port {port} is redirected: {came}");
    }
    Ok(())
}

async fn loopback(world: World, backend: &str) -> Result<()> {
    let pod = pod_with_doors(&world, "web").await?;
    apps::serve(&pod, APP, say_app).await?;
    intercept(&pod, backend, MARKED)?;
    let loopback = [SocketAddr::from((Ipv4Addr::LOCALHOST, APP)), SocketAddr::from((Ipv6Addr::LOCALHOST, APP))];
    for target in loopback.into_iter().chain([pod.address(APP), pod.address_v6(APP)]) {
        ensure!(reached(&pod, target).await? == "app", "{target} is redirected");
    }
    ensure!(reached(&pod, SERVICE).await? == format!("outbound {SERVICE}"), "a Service's address is not redirected");
    Ok(())
}

async fn own_traffic(world: World, backend: &str) -> Result<()> {
    let (pod, other) = (pod_with_doors(&world, "web").await?, pod_with_app(&world, "api").await?);
    let target = other.address(APP);
    intercept(&pod, backend, MARKED)?;
    let marked = pod.run(async move {
        let socket = TcpSocket::new_v4()?;
        SockRef::from(&socket).set_mark(MARK)?;
        first_line(socket.connect(target).await?).await
    });
    ensure!(marked.await? == "app", "a marked socket is redirected");
    ensure!(reached(&pod, target).await? == format!("outbound {target}"), "a socket without a mark is not redirected");

    // All that runs in a world runs as user and group 0, and iptables takes only ids that the user namespace knows.
    for (of_others, own) in [("--proxy-uid=2102", "--proxy-uid=0"), ("--proxy-gid=2102", "--proxy-gid=0")] {
        if backend == "nft" {
            intercept(&pod, backend, &[of_others])?;
            let came = reached(&pod, target).await?;
            ensure!(came == format!("outbound {target}"), "{of_others} exempts user 0");
        }
        intercept(&pod, backend, &[own])?;
        ensure!(reached(&pod, target).await? == "app", "{own} does not exempt user 0");
    }
    Ok(())
}

async fn skips(world: World, backend: &str) -> Result<()> {
    let (pod, other) = (pod_with_doors(&world, "web").await?, pod_with_app(&world, "api").await?);
    apps::serve(&other, 25, say_app).await?;
    apps::serve(&pod, 9100, say_app).await?;
    apps::serve(&pod, APP, say_app).await?;

    intercept(&pod, backend, &["--proxy-mark=1337", "--skip-outbound-ports=25,9999", "--skip-inbound-ports=9100"])?;
    ensure!(reached(&pod, other.address(25)).await? == "app", "an outbound port is not skipped");
    ensure!(reached(&pod, other.address(APP)).await?.starts_with("outbound"), "another outbound port is skipped");
    ensure!(reached(&other, pod.address(9100)).await? == "app", "an inbound port is not skipped");
    ensure!(reached(&other, pod.address(APP)).await?.starts_with("inbound"), "another inbound port is skipped");

    let networks =
        ["--proxy-mark=1337", "--skip-outbound-cidrs=10.1.0.0/16,fd00:1::/64", "--skip-inbound-cidrs=10.1.0.0/16"];
    intercept(&pod, backend, &networks)?;
    for target in [other.address(APP), other.address_v6(APP)] {
        ensure!(reached(&pod, target).await? == "app", "the network of {target} is not skipped");
    }
    ensure!(reached(&pod, SERVICE).await?.starts_with("outbound"), "another network is skipped");
    ensure!(reached(&other, pod.address(APP)).await? == "app", "an inbound network is not skipped");
    ensure!(reached(&other, pod.address_v6(APP)).await?.starts_with("inbound"), "another inbound network is skipped");
    Ok(())
}

async fn open_connections(world: World, backend: &str) -> Result<()> {
    let (pod, other) = (pod_with_doors(&world, "web").await?, world.pod("api").start().await?);
    apps::serve(&other, APP, apps::echo).await?;
    apps::serve(&pod, APP, apps::echo).await?;
    let mut outgoing = client::connect(&pod, other.address(APP)).await?;
    let mut incoming = client::connect(&other, pod.address(APP)).await?;
    for _ in 0..2 {
        intercept(&pod, backend, MARKED)?;
        for stream in [&mut outgoing, &mut incoming] {
            stream.write_all(b"still there?\n").await?;
            client::read_until(stream, "still there?\n").await.context("an open connection broke")?;
        }
    }
    Ok(())
}

async fn idempotent(world: World, backend: &str) -> Result<()> {
    let pod = world.pod("web").start().await?;
    intercept(&pod, backend, MARKED)?;
    let once = ruleset(&pod)?;
    intercept(&pod, backend, MARKED)?;
    ensure!(ruleset(&pod)? == once, "a second run changed the rules:\n{once}\nbecame\n{}", ruleset(&pod)?);
    intercept(&pod, backend, &["--proxy-mark=7"])?;
    ensure!(!ruleset(&pod)?.contains("0x00000539") && ruleset(&pod)?.contains("0x00000007"), "a rule stayed");
    Ok(())
}

async fn removal(world: World, backend: &str) -> Result<()> {
    let pod = world.pod("web").start().await?;
    let theirs = "add table inet theirs; add chain inet theirs keep { type filter hook output priority 0; }; \
                  add rule inet theirs keep tcp dport 7 counter drop";
    succeed(&pod, Command::new("nft").arg(theirs))?;
    succeed(&pod, Command::new("iptables").args("-t nat -A OUTPUT -p tcp --dport 7 -j ACCEPT".split(' ')))?;
    let before = ruleset(&pod)?;
    for _ in 0..2 {
        intercept(&pod, backend, MARKED)?;
        intercept(&pod, backend, &["--remove"])?;
    }
    intercept(&pod, backend, &["--remove"]).context("with nothing to remove")?;
    // Of iptables, chains that its tools made on the way (empty, policy accept) may stay.
    for line in before.lines() {
        ensure!(ruleset(&pod)?.contains(line), "{line:?} is gone");
    }
    for ours in ["inet weft", "WEFT_", "redirect"] {
        ensure!(!ruleset(&pod)?.contains(ours), "{ours} stayed:\n{}", ruleset(&pod)?);
    }
    Ok(())
}

async fn printing(world: World, backend: &str) -> Result<()> {
    let pod = world.pod("web").start().await?;
    let printed = intercept(&pod, backend, &["--proxy-mark=1337", "--print"])?;
    ensure!(printed.contains("1337") && printed.contains("15001"), "prints {printed:?}");
    ensure!(ruleset(&pod)?.is_empty(), "printing installed:\n{}", ruleset(&pod)?);
    Ok(())
}

async fn udp(world: World, backend: &str) -> Result<()> {
    let (pod, other) = (pod_with_doors(&world, "web").await?, world.pod("dns").start().await?);
    intercept(&pod, backend, MARKED)?;
    let server = other.run(async { Ok(UdpSocket::bind("0.0.0.0:53").await?) }).await?;
    let target = other.address(53);
    let query = pod.spawn(async move { UdpSocket::bind("0.0.0.0:0").await?.send_to(b"query", target).await });
    let mut buffer = [0; 16];
    let (length, from) = server.recv_from(&mut buffer).await?;
    ensure!(buffer.get(..length) == Some(b"query") && from.ip() == pod.address(0).ip(), "{length} bytes from {from}");
    query.await??;
    Ok(())
}

/// An `nft` that says what nft says on a kernel without nf_tables comes first in the path.
async fn fallback(world: World) -> Result<()> {
    let (pod, other) = (pod_with_doors(&world, "web").await?, pod_with_app(&world, "api").await?);
    let tools = tempfile::tempdir()?;
    let nft = tools.path().join("nft");
    std::fs::write(&nft, "#!/bin/sh\necho 'Error: Could not process rule: No such file or directory' >&2; exit 1\n")?;
    std::fs::set_permissions(&nft, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH")?);
    succeed(&pod, Command::new(proxy_program()?).arg("intercept").args(MARKED).env("PATH", path))?;
    let target = other.address(APP);
    ensure!(reached(&pod, target).await? == format!("outbound {target}"), "{target} does not come to the proxy");
    ensure!(ruleset(&pod)?.contains("WEFT_OUTBOUND"), "not by iptables:\n{}", ruleset(&pod)?);
    Ok(())
}

/// As the init container runs: root without any capability but one, and nowhere to write.
async fn least_privilege(world: World, backend: &'static str) -> Result<()> {
    let (pod, other) = (pod_with_doors(&world, "web").await?, pod_with_app(&world, "api").await?);
    let script = "mount -o remount,ro,bind / && exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+net_admin -- \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(proxy_program()?);
    succeed(&pod, command.args(["intercept", "--backend", backend]).args(MARKED))?;
    let target = other.address(APP);
    ensure!(reached(&pod, target).await? == format!("outbound {target}"), "{target} does not come to the proxy");
    Ok(())
}

/// Runs `weft-proxy intercept` in the pod; gives its output.
fn intercept(pod: &Pod, backend: &str, args: &[&str]) -> Result<String> {
    succeed(pod, Command::new(proxy_program()?).args(["intercept", "--backend", backend]).args(args))
}

fn succeed(pod: &Pod, command: &mut Command) -> Result<String> {
    let output = pod.output(command)?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// All rules of the pod, those of iptables included, without their counters' values.
fn ruleset(pod: &Pod) -> Result<String> {
    succeed(pod, Command::new("nft").args(["--stateless", "list", "ruleset"]))
}

async fn pod_with_app(world: &World, name: &str) -> Result<Pod> {
    let pod = world.pod(name).start().await?;
    apps::serve(&pod, APP, say_app).await?;
    Ok(pod)
}

/// A pod where each of the proxy's ports says that it was reached, and for which address.
async fn pod_with_doors(world: &World, name: &str) -> Result<Pod> {
    let pod = world.pod(name).start().await?;
    for (port, door) in [(15001, "outbound"), (15006, "inbound"), (15008, "direct"), (15020, "direct")] {
        apps::serve(&pod, port, move |stream| say_door(stream, door)).await?;
    }
    Ok(pod)
}

async fn say_app(mut stream: TcpStream) -> Result<()> {
    Ok(stream.write_all(b"app\n").await?)
}

async fn say_door(mut stream: TcpStream, door: &str) -> Result<()> {
    let socket = SockRef::from(&stream);
    let local = unmapped(stream.local_addr()?);
    let original = match local {
        SocketAddr::V4(_) => socket.original_dst_v4(),
        SocketAddr::V6(_) => socket.original_dst_v6(),
    };
    let bound_for = original.ok().and_then(|address| address.as_socket()).unwrap_or(local);
    Ok(stream.write_all(format!("{door} {bound_for}\n").as_bytes()).await?)
}

fn unmapped(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The first line that is said to who connects to `target` from the pod.
async fn reached(pod: &Pod, target: SocketAddr) -> Result<String> {
    first_line(client::connect(pod, target).await?).await
}

async fn first_line(stream: TcpStream) -> Result<String> {
    let mut line = String::new();
    tokio::time::timeout(Duration::from_secs(10), BufReader::new(stream).read_line(&mut line))
        .await
        .context("silence")??;
    Ok(line.trim_end().to_owned())
}
