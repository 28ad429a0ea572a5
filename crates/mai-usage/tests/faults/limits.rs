//! Row 15: more of everything than there is room for.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use openrouter_sim::{Options, Simulator};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::callers::{History, MODEL, ask, chat, question};
use crate::checker::{calls_in, check, wait_settled};
use crate::sidecar::{Setup, Sidecar, client};
use crate::trial::{Outcome, Trial};

/// The sidecar's resident memory in every attack, at most.
const MOST_RESIDENT_KIB: u64 = 96 * 1024;

/// How much longer the slowest hundredth of normal calls may take during an attack.
const MOST_SLOWDOWN: f64 = 1.5;

/// Employees who chat all the time.
const CALLERS: usize = 4;

/// Who waits so long waits for a time-out of somebody else's connection.
const LOCKED_OUT: Duration = Duration::from_secs(15);

/// Answers at once.
const AT_ONCE: usize = 256;

/// `CALLS_AT_ONCE` where the crowd is small: its connections, four times as many, must not be room for everybody.
const FEW_CALLS: &str = "256";

/// The size of a plain answer that is large.
const LARGE_ANSWER: usize = 4 * 1024 * 1024;

/// Descriptors of this process beside those of an attack.
const OWN_DESCRIPTORS: u64 = 1_000;

/// A memory group's limit.
const GROUP_BYTES: u64 = 128 * 1024 * 1024;

/// Between two bytes of a slow head.
const SLOW_BYTE: Duration = Duration::from_secs(1);

/// How a crowd keeps connections.
#[derive(Clone, Copy, Debug)]
enum Crowd {
    /// Says nothing.
    Idle,
    /// Says the beginning of a head.
    HalfHeads,
    /// Says most of the longest head that there may be.
    LongHeads,
    /// Says a byte a second.
    SlowHeads,
    /// Asks for something that is refused, then says nothing.
    Refused,
}

const CROWDS: [Crowd; 5] =
    [Crowd::Idle, Crowd::HalfHeads, Crowd::LongHeads, Crowd::SlowHeads, Crowd::Refused];

/// What normal callers met with.
#[derive(Debug, Default)]
struct Met {
    latencies: Vec<Duration>,
    refused: usize,
}

impl Met {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.refused += other.refused;
    }

    /// What one call in a hundred takes at least.
    fn p99(&self) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        sorted[sorted.len() * 99 / 100]
    }
}

/// Row 15.
pub(crate) async fn of_everything(trial: Trial) -> Outcome {
    let connections = trial.depth(1_500, 10_000);
    if let Err(reason) = raise_descriptors(u64::try_from(connections).unwrap() + OWN_DESCRIPTORS) {
        return Outcome::Skipped(reason);
    }
    for (tool, asked) in [("openssl", "version"), ("prlimit", "--version")] {
        if Command::new(tool).arg(asked).output().is_err() {
            return Outcome::Skipped(format!("{tool} is missing"));
        }
    }
    let mut told = String::new();
    for crowd in CROWDS {
        told += &crowded(&trial, crowd, connections).await;
    }
    told += &few_descriptors(&trial).await;
    let calls = trial.depth(64, AT_ONCE);
    for answers in [Answers::PlainWithHeader, Answers::Plain, Answers::Endless] {
        told += &large_answers(&trial, answers, calls).await;
    }
    told += &little_memory(&trial, calls).await;
    Outcome::Counts(told.trim_end_matches("; ").to_owned())
}

/// Both ends of every connection but the sidecar's are in this process.
fn raise_descriptors(wanted: u64) -> Result<(), String> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    if maximum.is_some_and(|maximum| maximum < wanted) {
        return Err(format!("{wanted} descriptors are not allowed, {maximum:?} are"));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).map_err(|error| error.to_string())
}

/// A setup with files of its own.
fn setup(trial: &Trial, simulator: &Simulator, name: &str) -> Setup {
    let mut setup = Setup::new(trial, simulator).with("LOG_LEVEL", "info");
    setup.database = trial.path(&format!("{name}.db"));
    setup
}

/// Quiet and attack by turns; who works there must not notice.
async fn crowded(trial: &Trial, crowd: Crowd, connections: usize) -> String {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup =
        setup(trial, &simulator, &format!("{crowd:?}")).with("CALLS_AT_ONCE", trial.depth(FEW_CALLS, ""));
    let sidecar = setup.start().await;
    let (turns, turn) = trial.depth((1, Duration::from_secs(1)), (4, Duration::from_secs(15)));
    let (mut quiet, mut attacked, mut closed) = (Met::default(), Met::default(), 0);
    let history = History::default();
    for _ in 0..turns {
        quiet.add(work(sidecar.proxy, turn, &history).await);
        let attack = Attack::begin(crowd, sidecar.proxy, connections, turn);
        attacked.add(work(sidecar.proxy, turn, &history).await);
        attack.is_whole(connections).await;
        closed += attack.closed.load(Ordering::Relaxed);
    }
    let resident = resident_within(&sidecar, &format!("{crowd:?}"), MOST_RESIDENT_KIB);
    assert_eq!((quiet.refused, attacked.refused), (0, 0), "{crowd:?}: normal calls were refused");
    assert!(closed > 0, "{crowd:?}: there was room for everybody");
    assert!(attacked.latencies.len() > CALLERS, "{crowd:?}: nobody worked");
    let slowest = attacked.latencies.iter().max().unwrap();
    assert!(*slowest < LOCKED_OUT, "{crowd:?}: normal callers were locked out for {slowest:?}");
    let (before, during) = (quiet.p99(), attacked.p99());
    if trial.full {
        let slowdown = during.as_secs_f64() / before.as_secs_f64();
        assert!(slowdown <= MOST_SLOWDOWN, "{crowd:?}: p99 {before:?} became {during:?}");
    }
    wait_settled(&setup.database).await;
    let history = history.lock().unwrap().clone();
    let counts = check(&setup.database, &simulator.truth(), &history).await;
    assert_eq!(counts.booked, quiet.latencies.len() + attacked.latencies.len());
    format!(
        "{crowd:?} x {connections}: {} calls, p99 {:.0} -> {:.0} ms, {resident} MiB; ",
        counts.booked,
        before.as_secs_f64() * 1e3,
        during.as_secs_f64() * 1e3
    )
}

/// Normal callers at work for a while.
async fn work(proxy: SocketAddr, lasting: Duration, history: &History) -> Met {
    let until = Instant::now() + lasting;
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let history = history.clone();
        callers.spawn(async move {
            let (http, user_id, mut met) = (client(), format!("user {caller}"), Met::default());
            while Instant::now() < until {
                let body = chat(caller % 2 == 0, &json!({}));
                let begun = Instant::now();
                let seen = ask(question(&http, proxy, &user_id, &body), &user_id).await;
                match seen {
                    Some(seen) if seen.status == 200 && seen.whole => {
                        met.latencies.push(begun.elapsed());
                        history.lock().unwrap().push(seen);
                    }
                    _ => met.refused += 1,
                }
            }
            met
        });
    }
    let mut all = Met::default();
    while let Some(met) = callers.join_next().await {
        all.add(met.unwrap());
    }
    all
}

/// Connections that want nothing; dropped, all are closed.
struct Attack {
    _connections: JoinSet<()>,
    begun: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
}

impl Attack {
    /// They come one after the other in the first part of `lasting`; a crowd in one instant would measure the machine.
    fn begin(crowd: Crowd, proxy: SocketAddr, connections: usize, lasting: Duration) -> Self {
        const PART: f64 = 0.6;
        let (begun, closed) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let between = lasting.mul_f64(PART) / u32::try_from(connections).unwrap();
        let mut tasks = JoinSet::new();
        for number in 0..u32::try_from(connections).unwrap() {
            let (begun, closed) = (begun.clone(), closed.clone());
            tasks.spawn(async move {
                tokio::time::sleep(between * number).await;
                let mut connection = TcpStream::connect(proxy).await.unwrap();
                begun.fetch_add(1, Ordering::Relaxed);
                stay(crowd, &mut connection).await;
                closed.fetch_add(1, Ordering::Relaxed);
            });
        }
        Self { _connections: tasks, begun, closed }
    }

    /// Waits for the last of them, where the machine is slow.
    async fn is_whole(&self, connections: usize) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.begun.load(Ordering::Relaxed) < connections {
            assert!(Instant::now() < deadline, "the attack is not whole");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Until the other side closes.
async fn stay(crowd: Crowd, connection: &mut TcpStream) {
    let head = "POST /v1/chat/completions HTTP/1.1\r\nHost: sidecar\r\nX-Long: ";
    let said = match crowd {
        Crowd::Idle | Crowd::SlowHeads => String::new(),
        Crowd::HalfHeads => head.to_owned(),
        Crowd::LongHeads => format!("{head}{}", "x".repeat(60 * 1024)),
        Crowd::Refused => "GET /v1/nothing HTTP/1.1\r\nHost: sidecar\r\n\r\n".to_owned(),
    };
    if connection.write_all(said.as_bytes()).await.is_err() {
        return;
    }
    let (mut from, mut to) = connection.split();
    let closed = async {
        let mut bytes = [0; 1024];
        while matches!(from.read(&mut bytes).await, Ok(1..)) {}
    };
    let speak = async {
        for byte in head.bytes().cycle() {
            tokio::time::sleep(SLOW_BYTE).await;
            if to.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    };
    if matches!(crowd, Crowd::SlowHeads) {
        tokio::select! {
            () = closed => {}
            () = speak => {}
        }
    } else {
        closed.await;
    }
}

/// The most that was resident, in MiB.
fn resident_within(sidecar: &Sidecar, attack: &str, most_kib: u64) -> u64 {
    let resident_kib = sidecar.peak_resident_kib();
    assert!(resident_kib <= most_kib, "{attack}: {resident_kib} KiB were resident");
    resident_kib / 1024
}

/// 64 descriptors, and more idle connections than that.
async fn few_descriptors(trial: &Trial) -> String {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = setup(trial, &simulator, "descriptors").wrapped(&["prlimit", "--nofile=64"]);
    let sidecar = setup.start().await;
    let turn = trial.depth(Duration::from_secs(1), Duration::from_secs(20));
    let history = History::default();
    let attack = Attack::begin(Crowd::Idle, sidecar.proxy, 200, turn);
    let during = work(sidecar.proxy, turn, &history).await;
    assert!(!during.latencies.is_empty(), "nobody is served with 64 descriptors");
    drop(attack);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = work(sidecar.proxy, turn, &history).await;
    assert_eq!(after.refused, 0, "it does not recover from a want of descriptors");
    assert!(!after.latencies.is_empty());
    let resident = resident_within(&sidecar, "64 descriptors", MOST_RESIDENT_KIB);
    wait_settled(&setup.database).await;
    let history = history.lock().unwrap().clone();
    let counts = check(&setup.database, &simulator.truth(), &history).await;
    assert_eq!((counts.with_orphans, counts.orphans), (0, 0));
    format!("64 descriptors: {} calls, {} refused, {resident} MiB; ", counts.booked, during.refused)
}

/// What a bare upstream answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Answers {
    /// A large body; its head tells the id.
    PlainWithHeader,
    /// A large body that alone tells the id.
    Plain,
    /// A stream without an end, as fast as it is read.
    Endless,
}

/// The large body of the call `number`.
fn large_answer(number: usize) -> String {
    let text = "x".repeat(LARGE_ANSWER);
    let usage = r#"{"prompt_tokens":1,"completion_tokens":1,"cost":0.000001}"#;
    format!(
        r#"{{"id":"{}","model":"{MODEL}","choices":[{{"message":{{"content":"{text}"}}}}],"usage":{usage}}}"#,
        generation_id(number)
    )
}

fn generation_id(number: usize) -> String {
    format!("gen-1790000000-{number:08}")
}

/// A certificate for this machine, believed by who reads it from `cert.pem`.
fn certificate(trial: &Trial) -> TlsAcceptor {
    let (key, cert) = (trial.path("key.pem"), trial.path("cert.pem"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=upstream", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&cert)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let chain = vec![CertificateDer::from_pem_file(cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(key).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// An upstream that knows nothing but `answers`. With TLS, as in earnest: its records bound what one read brings.
async fn serve(listener: TcpListener, tls: TlsAcceptor, answers: Answers) {
    let (mut connections, mut number) = (JoinSet::new(), 0);
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        number += 1;
        // Where the sidecar leaves, writing fails; that is its right.
        let accepting = tls.accept(connection);
        connections.spawn(async move {
            if let Ok(connection) = accepting.await {
                drop(answer(connection, answers, number).await);
            }
        });
    }
}

async fn answer(
    mut connection: impl AsyncRead + AsyncWrite + Unpin,
    answers: Answers,
    number: usize,
) -> std::io::Result<()> {
    let mut asked = Vec::new();
    while memchr::memmem::find(&asked, b"\r\n\r\n").is_none() {
        if connection.read_buf(&mut asked).await? == 0 {
            return Ok(());
        }
    }
    if !asked.starts_with(b"POST ") {
        return connection
            .write_all(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            .await;
    }
    let mut head = "HTTP/1.1 200 OK\r\nConnection: close\r\n".to_owned();
    if answers != Answers::Plain {
        write!(head, "X-Generation-Id: {}\r\n", generation_id(number)).unwrap();
    }
    if answers == Answers::Endless {
        connection.write_all(format!("{head}Content-Type: text/event-stream\r\n\r\n").as_bytes()).await?;
        let event =
            format!("data: {{\"id\":\"{}\",\"text\":\"{}\"}}\n\n", generation_id(number), "x".repeat(900));
        let events = event.repeat(256);
        loop {
            connection.write_all(events.as_bytes()).await?;
        }
    }
    let body = large_answer(number);
    write!(head, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
    connection.write_all(head.as_bytes()).await?;
    connection.write_all(body.as_bytes()).await?;
    // Closing with something unread would take the end of the answer away.
    connection.shutdown().await?;
    while connection.read_buf(&mut asked).await? > 0 {}
    Ok(())
}

/// Many large answers at once: none is lost or cut, and memory holds.
async fn large_answers(trial: &Trial, answers: Answers, calls: usize) -> String {
    // How long nobody reads a stream without an end.
    let unread_for = trial.depth(Duration::from_secs(2), Duration::from_secs(8));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = format!("https://{}/api/v1", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(serve(listener, certificate(trial), answers));
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut setup = setup(trial, &simulator, &format!("{answers:?}"));
    setup.upstream = upstream;
    setup = setup.with("SSL_CERT_FILE", trial.path("cert.pem").to_str().unwrap());
    let sidecar = setup.start().await;
    let mut clients = JoinSet::new();
    for _ in 0..calls {
        let request =
            question(&client(), sidecar.proxy, "anna", &chat(answers == Answers::Endless, &json!({})));
        clients.spawn(async move {
            if answers == Answers::Endless {
                let unread = request.send().await.unwrap();
                tokio::time::sleep(unread_for).await;
                assert_eq!(unread.status(), 200);
                return;
            }
            let seen = ask(request, "anna").await.unwrap();
            assert!(seen.status == 200 && seen.whole, "an answer is lost or cut: {}", seen.status);
            assert_eq!(seen.body.len(), large_answer(1).len());
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let resident = resident_within(&sidecar, &format!("{answers:?}"), MOST_RESIDENT_KIB);
    wait_known(&setup.database, calls).await;
    let settled = calls_in(&setup.database, &["settled"]).await;
    format!("{answers:?} x {calls}: {settled} settled at once, {resident} MiB; ")
}

/// Every call has its id, settled or to be asked for.
async fn wait_known(database: &Path, calls: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let wanted = i64::try_from(calls).unwrap();
    while calls_in(database, &["settled", "open"]).await != wanted
        || calls_in(database, &["intent"]).await != 0
    {
        assert!(Instant::now() < deadline, "calls have no id");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A group of processes with a limit of memory; it has to end after them.
struct MemoryGroup(PathBuf);

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // The kernel takes a moment to forget the dead.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Where one can be made.
fn memory_group() -> Option<MemoryGroup> {
    let name = format!("mai-usage-faults-{}", std::process::id());
    let groups = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
    groups.into_iter().find_map(|(root, limit)| {
        let group = Path::new(root).join(&name);
        std::fs::create_dir(&group).ok()?;
        let limited = std::fs::write(group.join(limit), GROUP_BYTES.to_string());
        if limited.is_err() {
            std::fs::remove_dir(&group).unwrap();
        }
        limited.ok().map(|()| MemoryGroup(group))
    })
}

/// Many streams in a group of 128 MB: nobody is killed, nothing is lost.
async fn little_memory(trial: &Trial, streams: usize) -> String {
    let Some(group) = memory_group() else {
        return "128 MB: skipped, no group of processes can be made; ".to_owned();
    };
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", group.0.display());
    let setup = setup(trial, &simulator, "memory").wrapped(&["sh", "-c", &enter, "sh"]);
    let sidecar = setup.start().await;
    let (history, mut clients) = (History::default(), JoinSet::new());
    let rounds = trial.depth(1, 20);
    for stream in 0..streams {
        let (history, http, proxy) = (history.clone(), client(), sidecar.proxy);
        clients.spawn(async move {
            let user_id = format!("user {}", stream % 20);
            let body = chat(true, &json!({ "chunks": 40, "chunk_delay_ms": 20 }));
            let mut done = 0;
            while done < rounds {
                let seen = ask(question(&http, proxy, &user_id, &body), &user_id).await.unwrap();
                // A place is free only when its last call is written down.
                if seen.status == 503 {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
                assert!(seen.status == 200 && seen.whole, "{}", seen.status);
                history.lock().unwrap().push(seen);
                done += 1;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let resident = resident_within(&sidecar, "128 MB", MOST_RESIDENT_KIB);
    wait_settled(&setup.database).await;
    let history = history.lock().unwrap().clone();
    let counts = check(&setup.database, &simulator.truth(), &history).await;
    assert_eq!(counts.booked, streams * rounds);
    format!("128 MB: {streams} streams at once, {} calls, {resident} MiB; ", counts.booked)
}
