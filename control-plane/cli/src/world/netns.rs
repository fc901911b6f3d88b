//! A network namespace that is held by a file descriptor, and threads that work inside it.

use std::fs::File;
use std::future::Future;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A network namespace. It lives while this handle, or a thread, process or socket inside it, does.
#[derive(Clone, Debug)]
pub struct Netns(Arc<File>);

impl Netns {
    /// A new, empty namespace: nothing in it but a loopback device that is down.
    ///
    /// # Errors
    /// Where the kernel refuses; see [`enter`](super::enter).
    pub fn create() -> Result<Self> {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            File::open("/proc/thread-self/ns/net").context("cannot hold the network namespace")
        };
        Ok(Self(Arc::new(on_a_thread(make)??)))
    }

    /// The namespace that a process is in.
    ///
    /// # Errors
    /// Where there is no such process.
    pub fn of_process(id: i32) -> Result<Self> {
        let path = format!("/proc/{id}/ns/net");
        let file = File::open(&path).with_context(|| format!("cannot hold the network namespace {path}"))?;
        Ok(Self(Arc::new(file)))
    }

    /// The path by which this process and its children can name the namespace.
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()).into()
    }

    /// Runs `work` on a fresh thread inside the namespace and waits for it.
    ///
    /// # Errors
    /// Where the namespace cannot be entered, or `work` panicked.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_a_thread(|| {
            self.enter_thread()?;
            Ok(work())
        })?
    }

    /// Starts a process inside the namespace.
    ///
    /// # Errors
    /// Where the program is missing or cannot be started; the error names it.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let program = command.get_program().to_owned();
        self.run(|| command.spawn())?.with_context(|| format!("cannot start {}", program.display()))
    }

    /// Starts a thread with a tokio runtime inside the namespace.
    ///
    /// # Errors
    /// Where the thread or the runtime cannot be made.
    pub fn runtime(&self, name: &str) -> Result<NetnsRuntime> {
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let namespace = self.clone();
        let body = move || {
            let made = namespace
                .enter_thread()
                .and_then(|()| Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?));
            match made {
                Ok(runtime) => {
                    drop(ready.send(Ok(runtime.handle().clone())));
                    drop(runtime.block_on(stopped));
                    runtime.shutdown_background();
                }
                Err(error) => drop(ready.send(Err(error))),
            }
        };
        thread::Builder::new().name(name.to_owned()).spawn(body).context("cannot start a thread")?;
        let handle = started.recv().context("the namespace's thread ended at once")??;
        Ok(NetnsRuntime { handle, _stop: stop })
    }

    fn enter_thread(&self) -> Result<()> {
        setns(&*self.0, CloneFlags::CLONE_NEWNET).context("cannot enter the network namespace")
    }
}

/// A thread with its own single-threaded runtime in a namespace: what is spawned here makes its sockets there. Ends,
/// with all its tasks, when dropped.
#[derive(Debug)]
pub struct NetnsRuntime {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl NetnsRuntime {
    /// Starts a task in the namespace.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.handle.spawn(task)
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| scope.spawn(work).join()).map_err(|_| anyhow!("a thread of the world panicked"))
}
