//! The wire between pods: one bridge, a cable (veth) to each pod, and addresses by a fixed plan.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context, Result, bail, ensure};

use super::netns::Netns;

/// The bridge's name in its namespace, for packet captures.
pub const BRIDGE: &str = "weft0";
/// The address of the control plane's pod: known before the pod is there.
pub(super) const CONTROL_HOST: u16 = 2;
const FIRST_POD: u16 = 16;

/// A pod's two addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// In 10.1.0.0/16.
    pub v4: Ipv4Addr,
    /// In fd00:1::/64.
    pub v6: Ipv6Addr,
}

impl Addresses {
    pub(super) fn of_host(host: u16) -> Self {
        let [high, low] = host.to_be_bytes();
        Self { v4: Ipv4Addr::new(10, 1, high, low), v6: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, host) }
    }

    /// The virtual addresses of the `n`th Service: in 10.96.0.0/16 and fd00:96::/112, which lead nowhere.
    pub(super) fn of_service(n: u16) -> Self {
        let [high, low] = n.to_be_bytes();
        Self { v4: Ipv4Addr::new(10, 96, high, low), v6: Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, 0, n) }
    }
}

/// The bridge, in a namespace of its own so that worlds in one process don't meet.
#[derive(Debug)]
pub(super) struct Network {
    switch: Netns,
    next_host: AtomicU16,
}

impl Network {
    pub(super) fn create() -> Result<Self> {
        let switch = Netns::create()?;
        let gateway = Addresses::of_host(1);
        let batch = format!(
            "link set lo up\n\
             link add {BRIDGE} type bridge forward_delay 0 mcast_snooping 0\n\
             addr add {}/16 dev {BRIDGE}\n\
             addr add {}/64 dev {BRIDGE} nodad\n\
             link set {BRIDGE} up\n\
             route add unreachable 10.96.0.0/16\n\
             route add unreachable fd00:96::/112\n",
            gateway.v4, gateway.v6
        );
        ip(&switch, &batch).context("cannot make the bridge between pods")?;
        switch.run(|| {
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
        })??;
        Ok(Self { switch, next_host: AtomicU16::new(FIRST_POD) })
    }

    /// The namespace that all traffic between pods passes.
    pub(super) fn switch(&self) -> &Netns {
        &self.switch
    }

    /// A namespace on the bridge, at the next free addresses.
    pub(super) fn connect_next(&self) -> Result<(Netns, Addresses)> {
        self.connect(self.next_host.fetch_add(1, Ordering::Relaxed))
    }

    /// A namespace on the bridge, at the addresses of `host`.
    pub(super) fn connect(&self, host: u16) -> Result<(Netns, Addresses)> {
        let (pod, addresses, gateway) = (Netns::create()?, Addresses::of_host(host), Addresses::of_host(1));
        let cable = format!(
            "link add pod{host} type veth peer name eth0 netns {}\n\
             link set pod{host} master {BRIDGE} up\n",
            pod.path().display()
        );
        ip(&self.switch, &cable).context("cannot lay a cable to the pod")?;
        let inside = format!(
            "link set lo up\n\
             link set eth0 up\n\
             addr add {}/16 dev eth0\n\
             addr add {}/64 dev eth0 nodad\n\
             route add default via {}\n\
             route add default via {}\n",
            addresses.v4, addresses.v6, gateway.v4, gateway.v6
        );
        ip(&pod, &inside).context("cannot give the pod its addresses")?;
        Ok((pod, addresses))
    }
}

/// Feeds a batch of commands to iproute2 inside a namespace; all or an error.
fn ip(namespace: &Netns, batch: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = namespace.spawn(&mut command).context("iproute2 is needed: apt-get install iproute2")?;
    let Some(mut stdin) = child.stdin.take() else { bail!("ip was started without an input") };
    stdin.write_all(batch.as_bytes()).context("cannot feed `ip -batch -`")?;
    drop(stdin);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "`ip -batch -`: {}\nfed with:\n{batch}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
