//! The program as a process of its own, so that it can be killed, starved and lied to.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openrouter_sim::{DEFAULT_KEY, Simulator};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::time::Instant;

use crate::checker::wait_settled;
use crate::dice::chance;
use crate::secrets::{ADMIN, TOKEN};
use crate::trial::{Missing, Trial};

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_mai-usage");

/// The clock on which what was left open is asked for.
const HEALING: &str = "+0 x60";

/// Longest wait for a start or an end; no figure, only an end to the waiting.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a sidecar is started; the same setup may be started again and again.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) database: PathBuf,
    /// `OPENROUTER_HOST`.
    pub(crate) upstream: String,
    /// A program and its arguments that run the sidecar: `strace …`, `faketime …`, `prlimit …`.
    pub(crate) wrapper: Vec<String>,
    /// Settings beside the usual ones; an empty value takes one away.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// The program to run: [`PROGRAM`] but for another build.
    pub(crate) program: PathBuf,
    /// Where its log is appended.
    log: PathBuf,
}

/// A running sidecar. Dropping it kills it and its wrapper.
#[derive(Debug)]
pub(crate) struct Sidecar {
    process: Child,
    pub(crate) proxy: SocketAddr,
    pub(crate) usage: SocketAddr,
    http: reqwest::Client,
    log: PathBuf,
}

impl Setup {
    pub(crate) fn new(trial: &Trial, simulator: &Simulator) -> Self {
        Self {
            database: trial.path("usage.db"),
            upstream: simulator.base_url(),
            wrapper: Vec::new(),
            settings: Vec::new(),
            program: PROGRAM.into(),
            log: trial.path("sidecar.log"),
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.settings.push((name, value.into()));
        self
    }

    #[must_use]
    pub(crate) fn wrapped(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it without waiting for anything. Every log line of every level goes into the file that is searched for secrets.
    pub(crate) fn spawn(&self) -> Sidecar {
        let (proxy, usage) = (free_address(), free_address());
        let words: Vec<&Path> =
            self.wrapper.iter().map(Path::new).chain([self.program.as_path(), Path::new("daemon")]).collect();
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("RUST_BACKTRACE", "1")
            .env("OPENROUTER_HOST", &self.upstream)
            .env("OPENROUTER_API_KEY", DEFAULT_KEY)
            .env("ORGANIZATION_NAME", "Company_A")
            .env("USAGE_PROXY_TOKEN", TOKEN)
            .env("USAGE_ADMIN_TOKEN", ADMIN)
            .env("DATABASE_PATH", &self.database)
            .env("PROXY_LISTEN", proxy.to_string())
            .env("USAGE_LISTEN", usage.to_string())
            .env("LOG_LEVEL", "trace")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let process = command.spawn().unwrap();
        Sidecar { process, proxy, usage, http: client(), log: self.log.clone() }
    }

    /// On a clock of its own, as `libfaketime` says it: `+0 x20` runs twenty times as fast, the monotonic one as well.
    ///
    /// `LD_PRELOAD` by itself: the program `faketime` reads times of day in the zone of the machine, and does not start where a
    /// killed one had the same process id.
    #[must_use]
    pub(crate) fn on_clock(self, clock: &str) -> Self {
        let Some(library) = faketime_library() else {
            std::panic::panic_any(Missing("libfaketime is not installed".to_owned()))
        };
        self.with("LD_PRELOAD", library.to_str().unwrap()).with("FAKETIME", clock)
    }

    /// What the sidecars of this row have said so far.
    pub(crate) fn told(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap()).into_owned()
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&self) -> Sidecar {
        let mut sidecar = self.spawn();
        sidecar.ready().await;
        sidecar
    }
}

impl Setup {
    /// Starts it on a clock that runs fast, as four questions a second take hours otherwise, and waits until every call is
    /// settled, an orphan or void.
    pub(crate) async fn heal(&self) -> Sidecar {
        let sidecar = self.clone().on_clock(HEALING).start().await;
        wait_settled(&self.database).await;
        sidecar
    }
}

impl Sidecar {
    /// Waits until `/health` says that the ledger can be written; answers how long that took.
    pub(crate) async fn ready(&mut self) -> Duration {
        let started = Instant::now();
        assert!(self.becomes_ready().await, "the sidecar ended at its start: {}", self.last_words());
        started.elapsed()
    }

    /// The same for one that may end at its start; answers whether it became ready.
    pub(crate) async fn becomes_ready(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while self.health().await != Some(200) {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < deadline, "the sidecar does not become ready");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// The status of `/health`; `None` where nobody answers.
    pub(crate) async fn health(&self) -> Option<u16> {
        let answer = self.http.get(format!("http://{}/health", self.usage)).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// SIGKILL to it and its wrapper: no handler, no drop, no last write.
    pub(crate) fn kill(&mut self) {
        if self.process.try_wait().unwrap().is_none() {
            kill_process_group(self.group(), Signal::KILL).unwrap();
            self.process.wait().unwrap();
        }
    }

    /// SIGSTOP: it does nothing any more, as if its processor had no power. What it asked of the kernel ends.
    pub(crate) fn freeze(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
    }

    /// SIGTERM to the sidecar itself; it ends in its own time.
    pub(crate) fn terminate(&self) {
        kill_process(self.pid(), Signal::TERM).unwrap();
    }

    /// The last line of the log, where it says why it ends.
    fn last_words(&self) -> String {
        let told = std::fs::read(&self.log).unwrap();
        String::from_utf8_lossy(&told).lines().last().unwrap_or_default().to_owned()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Waits for its own end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + 2 * PATIENCE + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the sidecar does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// The sidecar's own process, below its wrapper where there is one.
    pub(crate) fn pid(&self) -> Pid {
        let child = self.process.id();
        let own = format!("/proc/{child}/task/{child}/children");
        let inner = std::fs::read_to_string(own).unwrap_or_default();
        let inner = inner.split_whitespace().next().and_then(|inner| inner.parse().ok());
        Pid::from_raw(inner.unwrap_or_else(|| i32::try_from(child).unwrap())).unwrap()
    }

    /// The most memory that was ever resident, in KiB.
    pub(crate) fn peak_resident_kib(&self) -> u64 {
        self.status_kib("VmHWM:")
    }

    fn status_kib(&self, name: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.pid().as_raw_nonzero())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.process)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.kill();
        // What `libfaketime` leaves of a process that was killed.
        let pid = self.process.id();
        for left in [format!("/dev/shm/faketime_shm_{pid}"), format!("/dev/shm/sem.faketime_sem_{pid}")] {
            let _ = std::fs::remove_file(left);
        }
    }
}

pub(crate) fn faketime_library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let libraries = folders.map(|folder| folder.unwrap().path().join("faketime/libfaketime.so.1"));
    libraries.into_iter().find(|library| library.exists())
}

/// A client without proxies, and without a pool: a connection left over from a killed sidecar is of no use.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap()
}

/// An address that nobody has, below those that the system gives to outgoing connections. Runs side by side begin elsewhere.
fn free_address() -> SocketAddr {
    const FIRST: u16 = 10_000;
    const COUNT: u64 = 20_000;
    static FIRST_STEP: LazyLock<u64> = LazyLock::new(chance);
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let step = *FIRST_STEP + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + u16::try_from(step % COUNT).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
