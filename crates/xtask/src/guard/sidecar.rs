//! A sidecar under valgrind, and the one client that it has.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::exchange::{Kind, Piece, TOKEN};
use super::profile::{self, Counted};
use super::upstream::Upstream;

/// Longest wait for anything; no figure, only an end to the waiting.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(1);

/// What the start leaves to be done is done when nothing was committed for so long.
const QUIET: Duration = Duration::from_millis(1_500);

struct Sidecar {
    process: Child,
    proxy: SocketAddr,
    /// Beside the database: the number of commits stands in it.
    mark: PathBuf,
}

/// Runs a sidecar from its start to its end with so many calls of each kind, one after the other.
pub(super) fn run(program: &Path, calls: impl Fn(Kind) -> u32) -> anyhow::Result<Counted> {
    let folder = tempfile::tempdir_in(xtask::root().join("target"))?;
    let counts = folder.path().join("callgrind.out");
    let upstream = Upstream::start()?;
    let mut sidecar = Sidecar::start(program, folder.path(), &counts, upstream.address)?;
    let mut client = sidecar.client()?;
    sidecar.wait_until_quiet()?;
    let mut number = 0;
    for kind in Kind::ALL {
        let request = kind.request();
        for _ in 0..calls(kind) {
            let commits = sidecar.commits();
            exchange(&mut client, &upstream, &request, &kind.answer(number))
                .with_context(|| format!("{}, call {number}", kind.name()))?;
            sidecar.wait_for_commits(commits + kind.commits())?;
            number += 1;
        }
    }
    drop(client);
    sidecar.stop()?;
    profile::read(&fs::read_to_string(counts)?)
}

/// A call from its first byte to its last; each piece of the answer leaves when the one before it has arrived.
fn exchange(
    client: &mut TcpStream,
    upstream: &Upstream,
    request: &[u8],
    answer: &[Piece],
) -> anyhow::Result<()> {
    client.write_all(request)?;
    let mut connection = upstream.next()?;
    let mut received = Vec::new();
    for piece in answer {
        connection.write_all(&piece.sent)?;
        let from = received.len();
        read_until(client, &mut received, from, &piece.awaited)?;
    }
    ensure!(received.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&received));
    let is_chunked = contains(&received.to_ascii_lowercase(), b"transfer-encoding: chunked");
    if is_chunked && !received.ends_with(b"0\r\n\r\n") {
        let from = received.len().saturating_sub(4);
        read_until(client, &mut received, from, b"0\r\n\r\n")?;
    }
    Ok(())
}

fn read_until(
    client: &mut TcpStream,
    received: &mut Vec<u8>,
    from: usize,
    awaited: &[u8],
) -> anyhow::Result<()> {
    let mut piece = [0; 16 * 1024];
    while !received.get(from..).is_some_and(|new| contains(new, awaited)) {
        let count = client.read(&mut piece)?;
        ensure!(count > 0, "the answer broke off: {}", String::from_utf8_lossy(received));
        received.extend_from_slice(piece.get(..count).unwrap_or_default());
    }
    Ok(())
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

impl Sidecar {
    fn start(program: &Path, folder: &Path, counts: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        let free = || TcpListener::bind("127.0.0.1:0")?.local_addr();
        let (proxy, usage, database) = (free()?, free()?, folder.join("guard.db"));
        let mut command = Command::new("valgrind");
        command
            // Names and positions as they are, so that they can be read line by line.
            .args(["--quiet", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no"])
            .arg(format!("--callgrind-out-file={}", counts.display()))
            .args([program.as_os_str(), "daemon".as_ref()])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            // Who finds work first is chance where several look for it.
            .env("TOKIO_WORKER_THREADS", "1")
            .env("POLL_INTERVAL", "86400")
            .env("OPENROUTER_HOST", format!("http://{upstream}/api/v1"))
            .env("OPENROUTER_API_KEY", "sk-or-v1-of-the-guard")
            .env("ORGANIZATION_NAME", "Company_A")
            .env("USAGE_PROXY_TOKEN", TOKEN)
            .env("DATABASE_PATH", &database)
            .env("PROXY_LISTEN", proxy.to_string())
            .env("USAGE_LISTEN", usage.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().context("valgrind cannot be started; hint: scripts/prepare.sh test")?;
        let mark = folder.join("guard.db.lock");
        Ok(Self { process, proxy, mark })
    }

    fn client(&mut self) -> anyhow::Result<TcpStream> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(client) = TcpStream::connect(self.proxy) {
                client.set_nodelay(true)?;
                client.set_read_timeout(Some(PATIENCE))?;
                return Ok(client);
            }
            ensure!(self.process.try_wait()?.is_none(), "the sidecar ended at its start");
            ensure!(Instant::now() < deadline, "the sidecar does not start");
            thread::sleep(GLANCE);
        }
    }

    /// How many commits there were so far, as the sidecar notes it.
    fn commits(&self) -> u64 {
        let mark = fs::read_to_string(&self.mark).unwrap_or_default();
        mark.trim().parse().unwrap_or(0)
    }

    /// Waits until the first poll and whatever else the start leaves to be done has been written down.
    fn wait_until_quiet(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let (mut last, mut since) = (self.commits(), Instant::now());
        while since.elapsed() < QUIET {
            ensure!(Instant::now() < deadline, "the sidecar does not come to rest");
            thread::sleep(GLANCE);
            let commits = self.commits();
            if commits != last {
                (last, since) = (commits, Instant::now());
            }
        }
        Ok(())
    }

    /// A call that is not written down to its end would share a commit with the next one, or not, as chance has it.
    fn wait_for_commits(&self, wanted: u64) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.commits() < wanted {
            ensure!(Instant::now() < deadline, "a call has fewer commits than it should");
            thread::sleep(GLANCE);
        }
        Ok(())
    }

    /// Lets it end by itself: then the counts are written.
    fn stop(&mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "the sidecar ended with {status}");
                return Ok(());
            }
            thread::sleep(GLANCE);
        }
        bail!("the sidecar does not end")
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        // It has ended, unless the run broke off.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
