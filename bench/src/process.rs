//! A proxy as a process of its own: on its core, with what it uses, ended with everything that it started.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// How long a proxy may take to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(10);

/// What `/proc` counts processor time in; Linux has told every program a hundred a second for ever.
const TICKS_A_SECOND: u64 = 100;

/// The core of whatever is measured; `None` leaves it to the system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Core(pub(crate) Option<usize>);

impl Core {
    /// `program` on this core. It ends when this process does, however that happens.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        if let Some(core) = self.0 {
            command.args(["taskset", "--cpu-list", &core.to_string()]);
        }
        command.arg(program);
        command
    }
}

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with what it says in the file `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Whether it still runs.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The end of what it said.
    pub(crate) fn last_said(&self) -> String {
        const LINES: usize = 20;
        let said = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines.get(lines.len().saturating_sub(LINES)..).unwrap_or_default().join("\n")
    }

    /// Processor time used so far, user and system, of all its processes and threads. It is told in hundredths of a second.
    pub(crate) fn cpu(&self) -> Duration {
        let ticks: u64 = self.family().into_iter().filter_map(ticks_of).sum();
        Duration::from_millis(ticks * 1_000 / TICKS_A_SECOND)
    }

    /// Resident memory of all its processes, each counted whole.
    pub(crate) fn resident_kib(&self) -> u64 {
        self.family().into_iter().filter_map(resident_kib_of).sum()
    }

    /// It and its descendants.
    fn family(&self) -> Vec<u32> {
        let parents = parents();
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while let Some(&parent) = family.get(next) {
            family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(child, _)| *child));
            next += 1;
        }
        family
    }

    fn end(&mut self) {
        let family = self.family();
        signal(self.child.id(), Signal::TERM);
        let deadline = Instant::now() + LAST_WORDS;
        while self.is_alive() && Instant::now() < deadline {
            sleep(PAUSE);
        }
        for process in
            family.into_iter().filter(|process| fs::exists(format!("/proc/{process}")).unwrap_or(false))
        {
            signal(process, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn signal(process: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // One that has ended needs none.
        let _ = kill_process(pid, signal);
    }
}

/// Every process of the machine with its parent.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter_map(|process| Some((process, field_of(process, 1)?.try_into().ok()?))).collect()
}

fn ticks_of(process: u32) -> Option<u64> {
    const USER: usize = 11;
    const SYSTEM: usize = 12;
    Some(field_of(process, USER)? + field_of(process, SYSTEM)?)
}

/// A number of `/proc/…/stat`, counted from the one after the name: its state is the first, number 0.
fn field_of(process: u32, number: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(number)?.parse().ok()
}

fn resident_kib_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
