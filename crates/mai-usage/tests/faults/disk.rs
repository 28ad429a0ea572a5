//! Row 9: a disk that is full, read-only, failing or slow.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openrouter_sim::{Options, Simulator};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::callers::{History, ask, chat, question};
use crate::checker::{Counts, calls_in, check};
use crate::host::{Injection, Mount, run};
use crate::sidecar::{Setup, Sidecar, client};
use crate::trial::{Outcome, Trial, eventually};

/// Longest wait for anything that must come by itself; no figure.
const PATIENCE: Duration = Duration::from_secs(30);

/// How soon calls are taken again once the disk is well.
const READY_AGAIN: Duration = Duration::from_secs(2);

/// Employees who ask again and again, politely.
const CALLERS: usize = 8;

/// A house whose disk can be harmed.
struct House<'a> {
    trial: &'a Trial,
    simulator: Simulator,
    setup: Setup,
    history: History,
}

/// Employees who ask until they are told to stop.
pub(crate) struct Callers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Callers {
    pub(crate) fn start(proxy: SocketAddr, history: &History) -> Self {
        let (stop, mut tasks) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
        for caller in 0..CALLERS {
            tasks.spawn(keep_asking(proxy, caller, history.clone(), stop.clone()));
        }
        Self { stop, tasks }
    }

    pub(crate) async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
    }
}

async fn keep_asking(proxy: SocketAddr, caller: usize, history: History, stop: Arc<AtomicBool>) {
    const PAUSE: Duration = Duration::from_millis(20);
    let (http, user_id) = (client(), format!("user {}", caller % 5));
    let body = chat(!caller.is_multiple_of(4), &json!({ "chunks": 6, "chunk_delay_ms": 5 }));
    while !stop.load(Ordering::Relaxed) {
        if let Some(seen) = ask(question(&http, proxy, &user_id, &body), &user_id).await {
            history.lock().unwrap().push(seen.without_body());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl<'a> House<'a> {
    async fn on(trial: &'a Trial, database: &Path) -> Self {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let mut setup = Setup::new(trial, &simulator);
        setup.database = database.into();
        Self { trial, simulator, setup, history: History::default() }
    }

    /// How many calls were sent to be billed.
    fn posts(&self) -> usize {
        self.simulator.requests().iter().filter(|request| request.method == "POST").count()
    }

    fn refusals(&self) -> usize {
        self.history.lock().unwrap().iter().filter(|seen| seen.status == 503).count()
    }

    /// Waits until new calls are refused and what was under way is over.
    async fn out_of_service(&self, sidecar: &Sidecar) {
        eventually("the sidecar says that it cannot write", PATIENCE, async || {
            sidecar.health().await == Some(503)
        })
        .await;
        let mut posts = usize::MAX;
        eventually("nothing is under way", PATIENCE, async || {
            tokio::time::sleep(Duration::from_millis(300)).await;
            std::mem::replace(&mut posts, self.posts()) == self.posts()
        })
        .await;
    }

    /// For a while, employees ask and nothing may be sent. Answers how many were refused.
    async fn nothing_is_sent(&self) -> usize {
        const WHILE: Duration = Duration::from_secs(1);
        let (posts, refusals) = (self.posts(), self.refusals());
        tokio::time::sleep(WHILE).await;
        assert_eq!(self.posts(), posts, "something was sent that could not be recorded");
        let refused = self.refusals() - refusals;
        assert!(refused > 0, "nobody was refused");
        refused
    }

    /// The disk is well again: the same process takes calls again, soon.
    async fn ready_again(&self, sidecar: &Sidecar) -> Duration {
        let (well, posts) = (Instant::now(), self.posts());
        eventually("healthy again", PATIENCE, async || sidecar.health().await == Some(200)).await;
        eventually("calls are sent again", PATIENCE, async || self.posts() > posts).await;
        let took = well.elapsed();
        assert!(!self.trial.full || took < READY_AGAIN, "ready again after {took:?}");
        took
    }

    /// Every call settles, and the three histories agree.
    async fn reckoning(&self) -> Counts {
        let _sidecar = self.setup.heal().await;
        let history = self.history.lock().unwrap().clone();
        check(&self.setup.database, &self.simulator.truth(), &history).await
    }
}

/// Row 9.
pub(crate) async fn full_failing_slow(trial: Trial) -> Outcome {
    let memory = match Mount::tmpfs(trial.path("small"), 8) {
        Ok(memory) => memory,
        Err(reason) => return Outcome::Skipped(format!("no small disk: {reason}")),
    };
    if let Err(reason) = run("strace", &["--version"]) {
        return Outcome::Skipped(reason);
    }
    let full = full(&trial, &memory).await;
    let errors = failing_writes(&trial).await;
    let fsync = failing_fsync(&trial).await;
    let slow = slow(&trial).await;
    let read_only = read_only(&trial, &memory).await;
    Outcome::Counts(format!(
        "full: {full}; writes that fail: {errors}; fsync: {fsync}; slow: {slow}; {read_only}"
    ))
}

/// A disk of 8 MiB fills up, and has room again.
async fn full(trial: &Trial, memory: &Mount) -> String {
    let (rounds, mut refused, mut slowest, mut booked) = (trial.depth(2, 20), 0, Duration::ZERO, 0);
    for round in 0..rounds {
        let house = House::on(trial, &memory.at.join(format!("{round}.db"))).await;
        let mut sidecar = house.setup.start().await;
        let callers = Callers::start(sidecar.proxy, &house.history);
        eventually("calls", PATIENCE, async || calls_in(&house.setup.database, &["settled"]).await > 10)
            .await;
        let filler = memory.at.join("filler");
        fill(&filler);
        house.out_of_service(&sidecar).await;
        refused += house.nothing_is_sent().await;
        std::fs::remove_file(&filler).unwrap();
        slowest = slowest.max(house.ready_again(&sidecar).await);
        callers.end().await;
        sidecar.kill();
        booked += house.reckoning().await.booked;
        memory.unmount().unwrap();
        memory.mount().unwrap();
    }
    format!("{rounds} times, {refused} refused, ready again within {slowest:?}, {booked} booked")
}

/// Writes until nothing more goes in.
fn fill(filler: &Path) {
    let mut file = std::fs::File::create(filler).unwrap();
    let error = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

/// Writes that fail for a while, with each of the errors a disk has.
async fn failing_writes(trial: &Trial) -> String {
    let house = House::on(trial, &trial.path("failing.db")).await;
    let mut sidecar = house.setup.start().await;
    let callers = Callers::start(sidecar.proxy, &house.history);
    let (mut refused, mut slowest, mut rounds) = (0, Duration::ZERO, 0);
    for _ in 0..trial.depth(1, 10) {
        for error in ["ENOSPC", "EROFS", "EDQUOT"] {
            let injection =
                Injection::attach(sidecar.pid(), &[&format!("pwrite64,ftruncate:error={error}")]).await;
            house.out_of_service(&sidecar).await;
            refused += house.nothing_is_sent().await;
            drop(injection);
            slowest = slowest.max(house.ready_again(&sidecar).await);
            rounds += 1;
        }
    }
    callers.end().await;
    sidecar.kill();
    format!("{rounds} times, {refused} refused, ready again within {slowest:?}, {}", house.reckoning().await)
}

/// A sync that fails ends the process with 70, at its start or later; the restart heals, and nobody was told what is not on
/// the disk.
async fn failing_fsync(trial: &Trial) -> String {
    const SOFTWARE: i32 = 70;
    let house = House::on(trial, &trial.path("fsync.db")).await;
    let at_start = trial.depth(4, 30);
    for sync in 1..=at_start {
        let fault = format!("--inject=fsync,fdatasync:error=EIO:when={sync}+");
        let strace = ["strace", "--follow-forks", "--quiet=all", "--output=/dev/null", &fault];
        let mut sidecar = house.setup.clone().wrapped(&strace).spawn();
        // Each health check writes, so that the sync comes.
        while sidecar.becomes_ready().await {}
        assert_eq!(sidecar.ended().await.code(), Some(SOFTWARE), "sync {sync} fails");
    }
    let rounds = trial.depth(3, 50);
    let mut dice = trial.dice();
    for _ in 0..rounds {
        let mut sidecar = house.setup.start().await;
        let callers = Callers::start(sidecar.proxy, &house.history);
        tokio::time::sleep(Duration::from_millis(50 + dice.roll(200))).await;
        let when = 1 + dice.roll(20);
        let failing =
            Injection::attach(sidecar.pid(), &[&format!("fsync,fdatasync:error=EIO:when={when}+")]).await;
        assert_eq!(sidecar.ended().await.code(), Some(SOFTWARE));
        drop(failing);
        callers.end().await;
    }
    format!("{} ends with exit {SOFTWARE}, {}", at_start + rounds, house.reckoning().await)
}

/// A disk that takes its time: everybody waits, nothing breaks.
async fn slow(trial: &Trial) -> String {
    const CALLS: usize = 20;
    let house = House::on(trial, &trial.path("slow.db")).await;
    let mut sidecar = house.setup.start().await;
    let mut dice = trial.dice();
    let rounds = trial.depth(1, 10);
    for _ in 0..rounds {
        let delay_us = 20_000 + dice.roll(200_000);
        let _injection =
            Injection::attach(sidecar.pid(), &[&format!("fsync,fdatasync:delay_enter={delay_us}")]).await;
        let before = house.history.lock().unwrap().len();
        let callers = Callers::start(sidecar.proxy, &house.history);
        eventually("calls", 2 * PATIENCE, async || house.history.lock().unwrap().len() > before + CALLS)
            .await;
        callers.end().await;
        assert_eq!(house.refusals(), 0, "a slow disk is not a broken one");
    }
    sidecar.kill();
    format!("{rounds} times, {}", house.reckoning().await)
}

/// A file system that became read-only is told in words at the start.
async fn read_only(trial: &Trial, memory: &Mount) -> String {
    const CONFIGURATION: i32 = 78;
    let house = House::on(trial, &memory.at.join("usage.db")).await;
    run("mount", &["-o", "remount,ro", memory.at.to_str().unwrap()]).unwrap();
    let mut sidecar = house.setup.spawn();
    assert!(!sidecar.becomes_ready().await, "it starts where nothing can be recorded");
    let status = sidecar.ended().await;
    run("mount", &["-o", "remount,rw", memory.at.to_str().unwrap()]).unwrap();
    assert_eq!(status.code(), Some(CONFIGURATION), "{status}");
    assert!(house.setup.told().contains("Read-only file system"), "{}", house.setup.told());
    format!("read-only at the start: exit {CONFIGURATION}")
}
