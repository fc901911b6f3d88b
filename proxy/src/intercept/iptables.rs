//! The rules in iptables' language: two chains of our own in the table `nat`, for each address family, and a jump to
//! each. One transaction for each family.

use std::fmt::Write as _;

use super::rules::{Rules, Skipped};

const OUTBOUND: &str = "WEFT_OUTBOUND";
const INBOUND: &str = "WEFT_INBOUND";
/// Declaring a chain to `iptables-restore --noflush` makes it, or empties it where it is there.
const FRESH_CHAINS: &str = "*nat\n:WEFT_OUTBOUND - [0:0]\n:WEFT_INBOUND - [0:0]\n";

/// The jump to our chain for what the pod sends.
pub(super) const OUTPUT_JUMP: &str = "OUTPUT -p tcp -j WEFT_OUTBOUND";
/// The jump to our chain for what the pod is sent.
pub(super) const PREROUTING_JUMP: &str = "PREROUTING -p tcp -j WEFT_INBOUND";

/// Which of iptables' implementations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tools {
    /// What the image calls iptables, usually that over nf_tables.
    Default,
    /// That over the kernel's older tables.
    Legacy,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Which of the jumps are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hooked {
    pub(super) output: bool,
    pub(super) prerouting: bool,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The tool for single rules.
    pub(super) fn tool(self, tools: Tools) -> &'static str {
        match (self, tools) {
            (Self::V4, Tools::Default) => "iptables",
            (Self::V6, Tools::Default) => "ip6tables",
            (Self::V4, Tools::Legacy) => "iptables-legacy",
            (Self::V6, Tools::Legacy) => "ip6tables-legacy",
        }
    }

    /// The tool that is fed whole tables.
    pub(super) fn restore(self, tools: Tools) -> &'static str {
        match (self, tools) {
            (Self::V4, Tools::Default) => "iptables-restore",
            (Self::V6, Tools::Default) => "ip6tables-restore",
            (Self::V4, Tools::Legacy) => "iptables-legacy-restore",
            (Self::V6, Tools::Legacy) => "ip6tables-legacy-restore",
        }
    }
}

impl Hooked {
    pub(super) const NONE: Self = Self { output: false, prerouting: false };
    pub(super) const ALL: Self = Self { output: true, prerouting: true };
}

/// A script for each family under a heading, for people.
pub(super) fn for_each_family(script: impl Fn(Family) -> String) -> String {
    Family::BOTH.map(|family| format!("# {} --noflush\n{}", family.restore(Tools::Default), script(family))).concat()
}

/// Fills our chains anew and adds the jumps that are not there.
pub(super) fn install(rules: &Rules, family: Family, hooked: Hooked) -> String {
    let mut text = FRESH_CHAINS.to_owned();
    let own = [
        ("-m mark --mark", rules.own.mark),
        ("-m owner --uid-owner", rules.own.uid),
        ("-m owner --gid-owner", rules.own.gid),
    ];
    for (is, value) in own {
        if let Some(value) = value {
            let _ = writeln!(text, "-A {OUTBOUND} {is} {value} -j RETURN");
        }
    }
    let _ = writeln!(text, "-A {OUTBOUND} -o lo -j RETURN");
    skip(&mut text, OUTBOUND, &rules.skip_outbound, "-d", family);
    redirect(&mut text, OUTBOUND, rules.outbound);

    let _ = writeln!(text, "-A {INBOUND} -i lo -j RETURN");
    let _ = writeln!(text, "-A {INBOUND} -m addrtype ! --dst-type LOCAL -j RETURN");
    skip(&mut text, INBOUND, &rules.skip_inbound, "-s", family);
    redirect(&mut text, INBOUND, rules.inbound);

    for (there, jump) in [(hooked.output, OUTPUT_JUMP), (hooked.prerouting, PREROUTING_JUMP)] {
        if !there {
            let _ = writeln!(text, "-A {jump}");
        }
    }
    text + "COMMIT\n"
}

/// Takes the jumps that are there and our chains away.
pub(super) fn remove(hooked: Hooked) -> String {
    let mut text = FRESH_CHAINS.to_owned();
    for (there, jump) in [(hooked.output, OUTPUT_JUMP), (hooked.prerouting, PREROUTING_JUMP)] {
        if there {
            let _ = writeln!(text, "-D {jump}");
        }
    }
    let _ = write!(text, "-X {OUTBOUND}\n-X {INBOUND}\nCOMMIT\n");
    text
}

fn skip(text: &mut String, chain: &str, skipped: &Skipped, far_side: &str, family: Family) {
    for port in &skipped.ports {
        let _ = writeln!(text, "-A {chain} -p tcp --dport {port} -j RETURN");
    }
    for network in skipped.networks.iter().filter(|network| network.addr().is_ipv4() == (family == Family::V4)) {
        let _ = writeln!(text, "-A {chain} {far_side} {network} -j RETURN");
    }
}

/// Of packets that open a connection alone.
fn redirect(text: &mut String, chain: &str, port: u16) {
    let _ = writeln!(text, "-A {chain} -p tcp --syn -j REDIRECT --to-ports {port}");
}
