//! Into namespaces of our own: for the network, mounts, processes and, where the caller is not root, users.
//!
//! The program starts itself twice. The outer process makes the namespaces and waits; the second, process 1 of the new
//! process namespace, mounts `/proc`, reaps orphans and waits; the third is the program proper. When the outer
//! process ends, in whatever way, process 1 is killed with it, and with process 1 the kernel ends every process and
//! takes every namespace, link and rule away. Nothing has to be cleaned up, so nothing can be forgotten.

use std::convert::Infallible;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::errno::Errno;
use nix::libc::SI_KERNEL;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid};

/// Which of the three processes this is.
const STAGE: &str = "WEFT_WORLD_STAGE";
const INIT: &str = "init";
const INSIDE: &str = "inside";

/// Why there are no namespaces to be had, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// Neither as root nor by a user namespace.
    #[error(
        "the kernel allows no new network namespace ({cause}){hint}. Run as root, or in a container with CAP_SYS_ADMIN \
         and CAP_NET_ADMIN (docker run --privileged), or allow unprivileged user namespaces"
    )]
    Forbidden {
        /// What the kernel said.
        cause: Errno,
        /// The setting that forbids it, where one is known to.
        hint: String,
    },
    /// A step after the namespaces were made.
    #[error("cannot {step} in the new namespaces: {source}")]
    Step {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Goes on inside fresh namespaces: returns there, and only there.
///
/// Must come first in `main`, before any thread is started. In the outer process this call does not return: it passes
/// SIGINT, SIGTERM, SIGHUP and SIGQUIT on, and ends with the exit code of the program inside (128 + N where signal N
/// ended it). The terminal's own Ctrl-C reaches the program once, directly.
///
/// # Errors
/// Where the kernel forbids namespaces, with the setting to change.
pub fn enter() -> Result<(), EnterError> {
    match std::env::var(STAGE).as_deref() {
        // What a supervisor blocks, to read it from a descriptor, its children inherit.
        Ok(INSIDE) => supervised_signals()
            .thread_unblock()
            .map_err(|errno| EnterError::Step { step: "unblock signals", source: errno.into() }),
        Ok(INIT) => {
            furnish()?;
            match supervise(INSIDE)? {}
        }
        _ => {
            separate()?;
            match supervise(INIT)? {}
        }
    }
}

/// A command that, should it be a program that enters a world, will enter one of its own.
pub fn outside(command: &mut Command) -> &mut Command {
    command.env_remove(STAGE)
}

/// Leaves the caller's namespaces. The process namespace is for the children alone.
fn separate() -> Result<(), EnterError> {
    let namespaces = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
    let (uid, gid) = (geteuid(), getegid());
    let refused = match uid.is_root() {
        true => unshare(namespaces),
        false => Err(Errno::EPERM),
    };
    if refused.is_ok() {
        return Ok(());
    }
    unshare(namespaces | CloneFlags::CLONE_NEWUSER)
        .map_err(|cause| EnterError::Forbidden { cause, hint: forbidding_setting() })?;
    let map = |file: &str, text: String| {
        std::fs::write(format!("/proc/self/{file}"), text)
            .map_err(|source| EnterError::Step { step: "map the user", source })
    };
    map("setgroups", "deny".to_owned())?;
    map("uid_map", format!("0 {uid} 1"))?;
    map("gid_map", format!("0 {gid} 1"))
}

/// The sysctl that stands in the way of user namespaces, if one does.
fn forbidding_setting() -> String {
    let settings = [
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=1024"),
    ];
    settings
        .iter()
        .find(|(file, bad, _)| std::fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|v| v.trim() == *bad))
        .map(|(_, _, remedy)| format!(": `{remedy}` (as root) would allow it"))
        .unwrap_or_default()
}

/// As process 1: a `/proc` that shows this process namespace, a `/run` to write locks to, a loopback that is up.
fn furnish() -> Result<(), EnterError> {
    let failed = |step| move |errno: Errno| EnterError::Step { step, source: errno.into() };
    set_pdeathsig(Signal::SIGKILL).map_err(failed("ask to be killed with the parent"))?;
    mount::<str, str, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)
        .map_err(failed("make the mounts private"))?;
    let hardened = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount::<str, str, str, str>(Some("proc"), "/proc", Some("proc"), hardened, None).map_err(failed("mount /proc"))?;
    mount::<str, str, str, str>(Some("tmpfs"), "/run", Some("tmpfs"), hardened, None).map_err(failed("mount /run"))
}

/// What a supervisor waits for: the signals that it passes on, and the end of a child.
fn supervised_signals() -> SigSet {
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD].into_iter().collect()
}

/// Starts this program again as `stage`, passes signals on, reaps, and ends as it ends.
fn supervise(stage: &str) -> Result<Infallible, EnterError> {
    let failed = |step| move |source: io::Error| EnterError::Step { step, source };
    let signals = supervised_signals();
    signals.thread_block().map_err(|errno| failed("block signals")(errno.into()))?;
    let pending = SignalFd::new(&signals).map_err(|errno| failed("listen for signals")(errno.into()))?;

    let program = std::env::current_exe().map_err(failed("find the program itself"))?;
    let child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .env(STAGE, stage)
        .spawn()
        .map_err(failed("start the program again"))?;
    let child = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    loop {
        let Some(info) = pending.read_signal().map_err(|errno| failed("read a signal")(errno.into()))? else {
            continue;
        };
        match i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok()) {
            Some(Signal::SIGCHLD) => {
                if let Some(code) = reap(child) {
                    std::process::exit(code);
                }
            }
            // The terminal signals the whole foreground group: the program has had this one already.
            Some(_) if info.ssi_code == SI_KERNEL => {}
            Some(signal) => {
                let _ = kill(child, signal);
            }
            None => {}
        }
    }
}

/// Collects every child that ended; the exit code if `program` is among them.
fn reap(program: Pid) -> Option<i32> {
    let mut code = None;
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::Exited(pid, status) if pid == program => code = Some(status),
            WaitStatus::Signaled(pid, signal, _) if pid == program => code = Some(128 + signal as i32),
            WaitStatus::StillAlive => break,
            _ => {}
        }
    }
    code
}

/// How a process ended, in words.
pub(super) fn describe(status: std::process::ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown cause".to_owned(),
    }
}
