//! A child process of the world: its log goes to a file, it is killed when dropped, its end can be awaited.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::watch;
use tokio::time::timeout;

use super::enter;
use super::netns::Netns;

/// The end of a log file that is still read when its tail is asked for, in bytes.
const TAIL: u64 = 256 * 1024;

/// A running or ended process. Dropping the last handle kills it.
#[derive(Clone, Debug)]
pub struct Process(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: String,
    pid: Pid,
    log: PathBuf,
    ended: watch::Receiver<Option<ExitStatus>>,
}

impl Process {
    /// Starts `command` in a namespace, its output appended to the file `log`.
    pub(super) fn start(namespace: &Netns, name: &str, log: &Path, command: &mut Command) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open the log {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // A terminal's Ctrl-C goes to a whole process group. It is for the program that made the world, which then ends
        // its processes in order.
        command.process_group(0);
        let mut child = namespace.spawn(enter::outside(command))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).context("a process id out of range")?);
        let (publish, ended) = watch::channel(None);
        let reap = move || drop(child.wait().map(|status| publish.send(Some(status))));
        thread::Builder::new().name(format!("wait-{name}")).spawn(reap).context("cannot start a thread")?;
        Ok(Self(Arc::new(Inner { name: name.to_owned(), pid, log: log.to_owned(), ended })))
    }

    /// The process id, as seen inside the world.
    pub fn id(&self) -> i32 {
        self.0.pid.as_raw()
    }

    /// Whether the process has not ended yet.
    pub fn is_running(&self) -> bool {
        self.0.ended.borrow().is_none()
    }

    /// Sends a signal, unless the process has ended.
    pub fn signal(&self, signal: Signal) {
        self.0.signal(signal);
    }

    /// Waits until the process ends.
    ///
    /// # Errors
    /// With the log's tail, where it still runs after `limit`.
    pub async fn ended(&self, limit: Duration) -> Result<ExitStatus> {
        let mut ended = self.0.ended.clone();
        let status = timeout(limit, ended.wait_for(Option::is_some)).await.map(|seen| seen.ok().and_then(|s| *s));
        match status {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(anyhow!("the end of {} was not observed", self.0.name)),
            Err(_) => {
                Err(anyhow!("{} still runs after {limit:?}; its log ends:\n{}", self.0.name, tail(&self.0.log, 20)))
            }
        }
    }

    /// Waits until the process ends of itself, successfully.
    ///
    /// # Errors
    /// With the log's tail, where it failed or still runs after `limit`.
    pub async fn succeeds(&self, limit: Duration) -> Result<()> {
        let status = self.ended(limit).await?;
        match status.success() {
            true => Ok(()),
            false => Err(self.failure(status)),
        }
    }

    /// Kills the process (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// Where the kernel does not end it within 10 seconds.
    pub async fn kill(&self) -> Result<()> {
        self.signal(Signal::SIGKILL);
        self.ended(Duration::from_secs(10)).await.map(drop)
    }

    /// Asks the process to end (SIGTERM) and waits at most `limit` for how it did.
    ///
    /// # Errors
    /// Where it still runs then.
    pub async fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM);
        self.ended(limit).await
    }

    /// Resident memory, in bytes.
    ///
    /// # Errors
    /// Where the process has ended.
    pub fn resident_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(&path).with_context(|| format!("{} has ended", self.0.name))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|value| value.trim().strip_suffix("kB")).and_then(|kib| kib.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024).with_context(|| format!("{path} has no VmRSS"))
    }

    /// All that the process has logged so far.
    ///
    /// # Errors
    /// Where the log file cannot be read.
    pub fn log(&self) -> Result<String> {
        let bytes = std::fs::read(&self.0.log).with_context(|| format!("cannot read {}", self.0.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// An error that says how the process ended, with the last lines of its log.
    pub(super) fn failure(&self, status: ExitStatus) -> anyhow::Error {
        let (name, how) = (&self.0.name, enter::describe(status));
        anyhow!("{name} ended with {how}; its log ends:\n{}", tail(&self.0.log, 20))
    }

    /// The last lines of its log, with a heading.
    pub(super) fn recent_log(&self) -> String {
        format!("the log of {} ends:\n{}", self.0.name, tail(&self.0.log, 20))
    }
}

impl Inner {
    fn signal(&self, signal: Signal) {
        if self.ended.borrow().is_none() {
            let _ = kill(self.pid, signal);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

/// The last lines of a file, or why there are none.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    match read() {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let all: Vec<&str> = text.lines().collect();
            all.iter().skip(all.len().saturating_sub(lines)).fold(String::new(), |text, line| text + "  " + line + "\n")
        }
        Err(error) => format!("  ({}: {error})\n", path.display()),
    }
}
