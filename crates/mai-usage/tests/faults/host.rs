//! What is asked of the machine: file systems of our own, and faults put between a process and its kernel.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

/// Runs a tool; its words where it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let told = |words: &[u8]| String::from_utf8_lossy(words).trim().to_owned();
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        Ok(told(&output.stdout))
    } else {
        Err(format!("{program}: {}", told(&output.stderr)))
    }
}

/// The name of a file that belongs to a database: its log, its lock.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes a file that nobody else may read, as the sidecar wants its own.
pub(crate) fn write_private(file: &Path, bytes: &[u8]) {
    std::fs::write(file, bytes).unwrap();
    std::fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
}

/// A mounted file system; gone when dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    source: String,
    options: Vec<String>,
    pub(crate) at: PathBuf,
}

impl Mount {
    /// Memory with a limit.
    pub(crate) fn tmpfs(at: PathBuf, mebibytes: u32) -> Result<Self, String> {
        Self::new(
            "tmpfs".to_owned(),
            vec!["-t".into(), "tmpfs".into(), "-o".into(), format!("size={mebibytes}m")],
            at,
        )
    }

    /// A disk of its own: an ext4 image in a file beside `at`.
    pub(crate) fn ext4(at: PathBuf, mebibytes: u32) -> Result<Self, String> {
        let image = at.with_extension("ext4");
        let image = image.to_str().unwrap();
        run("truncate", &["--size", &format!("{mebibytes}M"), image])?;
        run("mkfs.ext4", &["-q", "-F", image])?;
        Self::new(image.to_owned(), vec!["-t".into(), "ext4".into(), "-o".into(), "loop".into()], at)
    }

    fn new(source: String, options: Vec<String>, at: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&at).unwrap();
        let mount = Self { source, options, at };
        mount.mount()?;
        Ok(mount)
    }

    pub(crate) fn mount(&self) -> Result<(), String> {
        let mut arguments: Vec<&str> = self.options.iter().map(String::as_str).collect();
        arguments.extend([self.source.as_str(), self.at.to_str().unwrap()]);
        run("mount", &arguments).map(drop)
    }

    pub(crate) fn unmount(&self) -> Result<(), String> {
        run("umount", &[self.at.to_str().unwrap()]).map(drop)
    }

    /// What the kernel holds back never reaches the image, as if the power had gone (`EXT4_IOC_SHUTDOWN`).
    pub(crate) fn cut_power(&self) -> Result<(), String> {
        const CUT: &str = "
import fcntl, os, struct, sys
EXT4_IOC_SHUTDOWN, WITHOUT_LOG_FLUSH = 0x8004587D, 2
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), EXT4_IOC_SHUTDOWN, struct.pack('I', WITHOUT_LOG_FLUSH))
";
        run("python3", &["-c", CUT, self.at.to_str().unwrap()]).map(drop)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Whoever held a file there is dead or dying: a lazy unmount waits for that.
        let _ = run("umount", &["--lazy", self.at.to_str().unwrap()]);
    }
}

/// A fault between a running process and its kernel, as `strace --inject` says it; over when dropped.
#[derive(Debug)]
pub(crate) struct Injection {
    strace: Child,
}

impl Injection {
    /// Attaches to `process` and all its threads. `faults` are `SYSCALLS:WHAT`, such as `pwrite64:error=ENOSPC`.
    pub(crate) async fn attach(process: Pid, faults: &[&str]) -> Self {
        let mut strace = Command::new("strace");
        strace.args(["--follow-forks", "--quiet=all", "--output=/dev/null"]);
        for fault in faults {
            strace.arg(format!("--inject={fault}"));
        }
        strace.arg(format!("--attach={}", process.as_raw_nonzero())).stdin(Stdio::null());
        let mut strace = strace.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_mins(1);
        while !is_traced(process) {
            let (ended, threads) = (strace.try_wait().unwrap(), threads(process));
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "strace does not attach: {ended:?}; {threads:?}"
            );
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Self { strace }
    }
}

impl Drop for Injection {
    fn drop(&mut self) {
        // Strace detaches when it is asked to end.
        let _ = kill_process(Pid::from_child(&self.strace), Signal::TERM);
        let _ = self.strace.wait();
    }
}

/// Whether every thread of `process` has a tracer.
fn is_traced(process: Pid) -> bool {
    threads(process).iter().all(|(_, tracer)| tracer != "0")
}

/// The state and the tracer of each thread of `process`. A thread that has just ended has neither.
fn threads(process: Pid) -> Vec<(String, String)> {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.as_raw_nonzero())).unwrap();
    let look = |thread: &Path| {
        let status = std::fs::read_to_string(thread.join("status")).unwrap_or_default();
        let value = |name| {
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned()
        };
        (value("State:"), value("TracerPid:"))
    };
    threads.filter_map(Result::ok).map(|thread| look(&thread.path())).collect()
}
