//! What is to be redirected and what is not: checked, and the same for either tool.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use super::InterceptArgs;

/// The rules, in terms of no tool.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) own: OwnTraffic,
    /// The port that the application's connections are redirected to.
    pub(super) outbound: u16,
    /// The port that connections to the application are redirected to.
    pub(super) inbound: u16,
    pub(super) skip_outbound: Skipped,
    /// Holds the proxy's own ports, too.
    pub(super) skip_inbound: Skipped,
}

/// How to know the proxy's connections: any of these that is given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OwnTraffic {
    pub(super) mark: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// What is left alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    /// Destination ports, ascending, each once.
    pub(super) ports: Vec<u16>,
    /// Networks of the far side, none inside another.
    pub(super) networks: Vec<IpNet>,
}

/// Everything that is wrong with the arguments.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadArguments(Vec<String>);

impl std::error::Error for BadArguments {}

impl fmt::Display for BadArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad arguments:\n  {}", self.0.join("\n  "))
    }
}

impl Rules {
    /// Checks every argument.
    ///
    /// # Errors
    /// With each flaw, not just the first.
    pub(super) fn check(args: &InterceptArgs) -> Result<Self, BadArguments> {
        let mut flaws = Vec::new();
        let own = OwnTraffic {
            mark: optional(args.proxy_mark.as_deref(), "--proxy-mark", &mut flaws).filter(|mark| match mark {
                0 => {
                    flaws.push("--proxy-mark 0: every socket without a mark has it; choose another".to_owned());
                    false
                }
                _ => true,
            }),
            uid: optional(args.proxy_uid.as_deref(), "--proxy-uid", &mut flaws),
            gid: optional(args.proxy_gid.as_deref(), "--proxy-gid", &mut flaws),
        };
        if args.proxy_mark.is_none() && args.proxy_uid.is_none() && args.proxy_gid.is_none() {
            flaws.push(
                "none of --proxy-mark, --proxy-uid and --proxy-gid is given: the proxy's own connections would be \
                 redirected to itself, without end"
                    .to_owned(),
            );
        }
        let own_ports = [
            ("--outbound-port", &args.outbound_port),
            ("--inbound-port", &args.inbound_port),
            ("--mesh-port", &args.mesh_port),
            ("--admin-port", &args.admin_port),
            ("--metrics-port", &args.metrics_port),
        ]
        .map(|(name, text)| (name, port(text, name, &mut flaws)));
        refuse_duplicates(&own_ports, &mut flaws);
        let [(_, outbound), (_, inbound), ..] = own_ports;

        let skip_outbound = skipped(
            ports(&args.skip_outbound_ports, "--skip-outbound-ports", &mut flaws),
            networks(&args.skip_outbound_cidrs, "--skip-outbound-cidrs", &mut flaws),
        );
        let not_for_the_app = own_ports.iter().filter_map(|(_, port)| *port);
        let skip_inbound = skipped(
            ports(&args.skip_inbound_ports, "--skip-inbound-ports", &mut flaws).into_iter().chain(not_for_the_app),
            networks(&args.skip_inbound_cidrs, "--skip-inbound-cidrs", &mut flaws),
        );
        match (outbound, inbound) {
            (Some(outbound), Some(inbound)) if flaws.is_empty() => {
                Ok(Self { own, outbound, inbound, skip_outbound, skip_inbound })
            }
            _ => Err(BadArguments(flaws)),
        }
    }
}

fn optional(text: Option<&str>, name: &str, flaws: &mut Vec<String>) -> Option<u32> {
    let text = text?;
    let number = text.parse();
    if number.is_err() {
        flaws.push(format!("{name} {text:?}: not a number from 0 to {}", u32::MAX));
    }
    number.ok()
}

fn port(text: &str, name: &str, flaws: &mut Vec<String>) -> Option<u16> {
    let port = text.trim().parse().ok().filter(|port| *port != 0);
    if port.is_none() {
        flaws.push(format!("{name} {text:?}: not a port, a number from 1 to 65535"));
    }
    port
}

fn ports(texts: &[String], name: &str, flaws: &mut Vec<String>) -> Vec<u16> {
    texts.iter().filter_map(|text| port(text, name, flaws)).collect()
}

/// A CIDR, or an address that stands for itself alone.
fn networks(texts: &[String], name: &str, flaws: &mut Vec<String>) -> Vec<IpNet> {
    let parse = |text: &str| IpNet::from_str(text).ok().or_else(|| IpAddr::from_str(text).ok().map(IpNet::from));
    let mut checked = |text: &String| {
        let network = parse(text.trim());
        if network.is_none() {
            flaws.push(format!("{name} {text:?}: not a network such as 10.0.0.0/8 or fd00::/8"));
        }
        network.map(|network| network.trunc())
    };
    texts.iter().filter_map(&mut checked).collect()
}

fn refuse_duplicates(own_ports: &[(&str, Option<u16>)], flaws: &mut Vec<String>) {
    for (at, (name, port)) in own_ports.iter().enumerate() {
        let twin = own_ports.iter().take(at).find(|(_, earlier)| port.is_some() && earlier == port);
        if let (Some((earlier, _)), Some(port)) = (twin, port) {
            flaws.push(format!("{name} {port}: is {earlier}, too; each needs a port of its own"));
        }
    }
}

/// Sorted and merged, since nft refuses sets whose elements overlap.
fn skipped(ports: impl IntoIterator<Item = u16>, networks: Vec<IpNet>) -> Skipped {
    let mut ports: Vec<u16> = ports.into_iter().collect();
    ports.sort_unstable();
    ports.dedup();
    Skipped { ports, networks: IpNet::aggregate(&networks) }
}
