//! The rules in nftables' language. One transaction: all or nothing, and never a moment without rules.

use std::fmt::{Display, Write as _};

use ipnet::IpNet;

use super::rules::{Rules, Skipped};

/// Takes our table away, whether or not it is there.
pub(super) const REMOVE: &str = "add table inet weft\ndelete table inet weft\n";

/// A packet that opens a TCP connection.
const OPENS: &str = "tcp flags & (fin | syn | rst | ack) == syn";

/// Puts our table in place of the one that may be there.
pub(super) fn install(rules: &Rules) -> String {
    let mut text = format!("{REMOVE}table inet weft {{\n");
    text += "\tchain outbound {\n\t\ttype nat hook output priority -100; policy accept;\n";
    let own = [("meta mark", rules.own.mark), ("meta skuid", rules.own.uid), ("meta skgid", rules.own.gid)];
    for (is, value) in own {
        if let Some(value) = value {
            let _ = writeln!(text, "\t\t{is} {value} return comment \"the proxy's own\"");
        }
    }
    text += "\t\toifname \"lo\" return comment \"loopback and the pod's own addresses\"\n";
    skip(&mut text, &rules.skip_outbound, "daddr");
    let _ = writeln!(text, "\t\t{OPENS} redirect to :{}\n\t}}\n", rules.outbound);

    text += "\tchain inbound {\n\t\ttype nat hook prerouting priority -100; policy accept;\n";
    text += "\t\tiifname \"lo\" return\n";
    text += "\t\tfib daddr type != local return comment \"passing through\"\n";
    skip(&mut text, &rules.skip_inbound, "saddr");
    let _ = writeln!(text, "\t\t{OPENS} redirect to :{}\n\t}}\n}}", rules.inbound);
    text
}

fn skip(text: &mut String, skipped: &Skipped, far_side: &str) {
    if !skipped.ports.is_empty() {
        let _ = writeln!(text, "\t\ttcp dport {} return", set(&skipped.ports));
    }
    let (v4, v6): (Vec<&IpNet>, Vec<&IpNet>) = skipped.networks.iter().partition(|net| net.addr().is_ipv4());
    for (family, networks) in [("ip", v4), ("ip6", v6)] {
        if !networks.is_empty() {
            let _ = writeln!(text, "\t\t{family} {far_side} {} return", set(&networks));
        }
    }
}

fn set<T: Display>(elements: &[T]) -> String {
    let elements: Vec<String> = elements.iter().map(T::to_string).collect();
    format!("{{ {} }}", elements.join(", "))
}
