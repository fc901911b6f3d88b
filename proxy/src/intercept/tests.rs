use clap::Parser;

use super::iptables::{Family, Hooked};
use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    intercept: InterceptArgs,
}

fn args(line: &str) -> InterceptArgs {
    Command::try_parse_from(std::iter::once("intercept").chain(line.split_whitespace())).unwrap().intercept
}

fn rules(line: &str) -> Rules {
    Rules::check(&args(line)).unwrap()
}

const PLAIN: &str = "--proxy-mark 1337";
const FULL: &str = "--proxy-mark 1337 --proxy-uid 2102 --proxy-gid 2103 --outbound-port 16001 --inbound-port 16006 \
     --skip-outbound-ports 3306,25,25 --skip-inbound-ports 9100 \
     --skip-outbound-cidrs 169.254.169.254,10.0.0.0/8,10.1.2.3/16,fd00:ec2::/32 --skip-inbound-cidrs 192.168.7.0/24,fe80::/10";

#[test]
fn nft_plain() {
    assert_eq!(nft::install(&rules(PLAIN)), include_str!("golden/plain.nft"));
}

#[test]
fn nft_with_everything() {
    assert_eq!(nft::install(&rules(FULL)), include_str!("golden/full.nft"));
}

#[test]
fn iptables_plain() {
    let script = iptables::for_each_family(|family| iptables::install(&rules(PLAIN), family, Hooked::NONE));
    assert_eq!(script, include_str!("golden/plain.iptables"));
}

#[test]
fn iptables_with_everything() {
    let script = iptables::for_each_family(|family| iptables::install(&rules(FULL), family, Hooked::NONE));
    assert_eq!(script, include_str!("golden/full.iptables"));
}

#[test]
fn iptables_adds_no_second_jump() {
    let script = iptables::install(&rules(PLAIN), Family::V4, Hooked::ALL);
    assert!(!script.contains("-A OUTPUT") && !script.contains("-A PREROUTING"), "{script}");
}

#[test]
fn iptables_removes_the_jumps_that_are_there_before_the_chains() {
    let script = iptables::remove(Hooked { output: true, prerouting: false });
    let expected = "*nat\n:WEFT_OUTBOUND - [0:0]\n:WEFT_INBOUND - [0:0]\n-D OUTPUT -p tcp -j WEFT_OUTBOUND\n\
                    -X WEFT_OUTBOUND\n-X WEFT_INBOUND\nCOMMIT\n";
    assert_eq!(script, expected);
}

#[test]
fn reports_all_flaws_at_once() {
    let line = "--proxy-uid root --outbound-port 0 --inbound-port 15008 --skip-outbound-ports 80,http \
                --skip-inbound-ports 65536 --skip-outbound-cidrs 10.0.0.0/33";
    let flaws = Rules::check(&args(line)).unwrap_err().to_string();
    for flaw in [
        "--proxy-uid \"root\": not a number",
        "--outbound-port \"0\": not a port",
        "--mesh-port 15008: is --inbound-port, too",
        "--skip-outbound-ports \"http\": not a port",
        "--skip-inbound-ports \"65536\": not a port",
        "--skip-outbound-cidrs \"10.0.0.0/33\": not a network",
    ] {
        assert!(flaws.contains(flaw), "{flaw} is missing in: {flaws}");
    }
}

#[test]
fn refuses_to_redirect_the_proxy_to_itself() {
    assert!(Rules::check(&args("")).unwrap_err().to_string().contains("without end"));
    assert!(Rules::check(&args("--proxy-mark 0")).unwrap_err().to_string().contains("every socket without a mark"));
}

#[test]
fn says_what_is_missing() {
    for (said, advice) in [
        ("Error: Could not process rule: Operation not permitted", "NET_ADMIN"),
        ("iptables-restore v1.8.9 (legacy): can't initialize iptables table `nat': Permission denied", "NET_ADMIN"),
        ("iptables v1.8.9 (legacy): can't initialize iptables table `nat': Table does not exist", "iptable_nat"),
        ("iptables-restore v1.8.9 (legacy): iptables-restore: unable to initialize table 'nat'", "CAP_NET_RAW"),
        ("Error: Could not process rule: No such file or directory", "nft_fib_inet"),
        ("Fatal: can't open lock file /run/xtables.lock: Read-only file system", "XTABLES_LOCKFILE"),
    ] {
        assert!(feed::advice(said).contains(advice), "{said}: {}", feed::advice(said));
    }
    assert_eq!(feed::advice("syntax error"), "");
}

/// What `auto` does where these are installed, and these fail with the words; the tools that it tried.
fn tried(installed: &[Backend], failing: &[(Backend, &str)]) -> (Vec<Backend>, Result<(), String>) {
    let tried = std::cell::RefCell::new(Vec::new());
    let work = |backend| {
        tried.borrow_mut().push(backend);
        match failing.iter().find(|(failing, _)| *failing == backend) {
            Some((_, said)) => Err(FeedError::Refused { tool: "tool", said: (*said).to_owned() }),
            None => Ok(()),
        }
    };
    let done = first_that_works(|backend| installed.contains(&backend), work).map_err(|error| error.to_string());
    (tried.into_inner(), done)
}

#[test]
fn auto_tries_what_is_installed_until_the_kernel_can_do_it() {
    let missing = "Error: Could not process rule: No such file or directory";
    assert_eq!(tried(&ALL, &[]), (vec![Backend::Nft], Ok(())));
    assert_eq!(tried(&ALL, &[(Backend::Nft, missing)]), (vec![Backend::Nft, Backend::Iptables], Ok(())));
    let failing = [(Backend::Nft, missing), (Backend::Iptables, missing)];
    assert_eq!(tried(&ALL, &failing), (ALL.to_vec(), Ok(())));
    assert_eq!(tried(&[Backend::Iptables], &[]), (vec![Backend::Iptables], Ok(())));
    let (_, error) = tried(&[Backend::Nft, Backend::Iptables], &failing);
    assert!(error.unwrap_err().starts_with("no tool can do it:\n- tool failed"));
}

#[test]
fn auto_does_not_hide_that_a_privilege_is_missing() {
    let denied = "netlink: Error: cache initialization failed: Operation not permitted";
    let (tried, error) = tried(&ALL, &[(Backend::Nft, denied)]);
    assert_eq!(tried, [Backend::Nft]);
    assert!(error.unwrap_err().contains("NET_ADMIN"));
}
