//! Row 22: everything at once.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openrouter_sim::{Knobs, Options, Simulator};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::callers::{History, Seen, ask, chat, question};
use crate::checker::{check, check_roll_up, verify};
use crate::dice::Dice;
use crate::host::{Injection, Mount, run};
use crate::locked::{Locker, copy_with_python};
use crate::sidecar::{Setup, Sidecar, client};
use crate::trial::{Outcome, Trial};

const CALLERS: u64 = 24;

/// What can happen to the house.
const MISHAPS: [Mishap; 10] = [
    Mishap::Kill,
    Mishap::Terminate,
    Mishap::PowerCut,
    Mishap::FailedSync,
    Mishap::FullDisk,
    Mishap::SlowDisk,
    Mishap::Locked,
    Mishap::Copied,
    Mishap::LookUpsFail,
    Mishap::SecondDaemon,
];

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Mishap {
    Kill,
    Terminate,
    PowerCut,
    FailedSync,
    FullDisk,
    SlowDisk,
    Locked,
    Copied,
    LookUpsFail,
    SecondDaemon,
}

/// A sidecar on a disk of its own, and everything that happens to it.
struct House {
    trial: Trial,
    disk: Mount,
    simulator: Simulator,
    setup: Setup,
    sidecar: Sidecar,
    address: watch::Sender<SocketAddr>,
    dice: Dice,
}

/// Row 22.
pub(crate) async fn at_once(trial: Trial) -> Outcome {
    let disk = match Mount::ext4(trial.path("disk"), 2_048) {
        Ok(disk) => disk,
        Err(reason) => return Outcome::Skipped(format!("no disk of our own: {reason}")),
    };
    if let Err(reason) = run("strace", &["--version"]) {
        return Outcome::Skipped(reason);
    }
    let time = trial.depth(Duration::from_secs(8), Duration::from_mins(30));
    let history = History::default();
    let mut house = House::new(trial, disk).await;
    let (stop, mut callers) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for _ in 0..CALLERS {
        let dice = Dice::new(house.dice.roll(u64::MAX));
        callers.spawn(keep_asking(house.address.subscribe(), dice, history.clone(), stop.clone()));
    }
    let mishaps = house.suffer(time).await;
    stop.store(true, Ordering::Relaxed);
    callers.join_all().await;
    let history = history.lock().unwrap().clone();
    let counts = house.reckoning(&history).await;
    Outcome::Counts(format!("{time:?}, {mishaps:?}; {counts}"))
}

impl House {
    async fn new(trial: Trial, disk: Mount) -> Self {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let mut setup = Setup::new(&trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "info"));
        setup = setup.with("POLL_INTERVAL", "2");
        setup.database = disk.at.join("usage.db");
        let sidecar = setup.start().await;
        let (address, _) = watch::channel(sidecar.proxy);
        let dice = trial.dice();
        Self { trial, disk, simulator, setup, sidecar, address, dice }
    }

    /// One mishap after the other; each at least once. Answers how many of each there were.
    async fn suffer(&mut self, time: Duration) -> BTreeMap<Mishap, u32> {
        let deadline = Instant::now() + time;
        let mut counts = BTreeMap::new();
        while Instant::now() < deadline || counts.len() < MISHAPS.len() {
            let untried: Vec<_> = MISHAPS.into_iter().filter(|mishap| !counts.contains_key(mishap)).collect();
            let mishap = *self.dice.pick(if untried.is_empty() { &MISHAPS } else { &untried });
            self.wait(50, 1_000).await;
            self.befall(mishap).await;
            assert!(!self.sidecar.has_ended(), "the sidecar ended by itself after {mishap:?}");
            *counts.entry(mishap).or_default() += 1;
        }
        counts
    }

    async fn wait(&mut self, least_ms: u64, most_ms: u64) {
        let wait_ms = least_ms + self.dice.roll(most_ms - least_ms);
        tokio::time::sleep(Duration::from_millis(wait_ms)).await;
    }

    async fn befall(&mut self, mishap: Mishap) {
        match mishap {
            Mishap::Kill => {
                self.sidecar.kill();
                self.restart().await;
            }
            Mishap::Terminate => {
                self.sidecar.terminate();
                assert!(self.sidecar.ended().await.success());
                self.restart().await;
            }
            Mishap::PowerCut => {
                self.sidecar.freeze();
                self.disk.cut_power().unwrap();
                self.sidecar.kill();
                self.disk.unmount().unwrap();
                self.disk.mount().unwrap();
                self.restart().await;
            }
            Mishap::FailedSync => {
                let when = 1 + self.dice.roll(30);
                let failing = self.inject(&format!("fsync,fdatasync:error=EIO:when={when}+")).await;
                assert_eq!(self.sidecar.ended().await.code(), Some(70));
                drop(failing);
                self.restart().await;
            }
            Mishap::FullDisk => {
                let full = self.inject("pwrite64,ftruncate:error=ENOSPC").await;
                self.wait(50, 1_500).await;
                drop(full);
            }
            Mishap::SlowDisk => {
                let slow = self.inject("fsync,fdatasync:delay_enter=50000").await;
                self.wait(200, 2_000).await;
                drop(slow);
            }
            Mishap::Locked => {
                let locker = Locker::lock(&self.setup.database);
                self.wait(100, 7_000).await;
                drop(locker);
            }
            Mishap::Copied => {
                let copy: PathBuf = self.trial.path("copy.db");
                copy_with_python(&self.setup.database, &copy).await;
                verify(&copy);
                check_roll_up(&copy).await;
                std::fs::remove_file(&copy).unwrap();
            }
            Mishap::LookUpsFail => {
                let error = *self.dice.pick(&["429", "500", "html"]);
                self.simulator
                    .set_knobs(Knobs { generation_error: Some(error.to_owned()), ..Knobs::default() });
                self.wait(200, 3_000).await;
                self.simulator.set_knobs(Knobs::default());
            }
            Mishap::SecondDaemon => {
                let mut second = self.setup.spawn();
                assert_eq!(second.ended().await.code(), Some(75));
            }
        }
    }

    async fn inject(&self, fault: &str) -> Injection {
        Injection::attach(self.sidecar.pid(), &[fault]).await
    }

    async fn restart(&mut self) {
        self.sidecar = self.setup.start().await;
        self.address.send_replace(self.sidecar.proxy);
    }

    /// Every call settles, and the three histories agree.
    async fn reckoning(mut self, seen: &[Seen]) -> String {
        self.sidecar.kill();
        self.sidecar = self.setup.heal().await;
        check(&self.setup.database, &self.simulator.truth(), seen).await.to_string()
    }
}

/// One employee after the other asks, each in another way; some leave in the middle.
async fn keep_asking(
    address: watch::Receiver<SocketAddr>,
    mut dice: Dice,
    history: History,
    stop: Arc<AtomicBool>,
) {
    const PAUSE: Duration = Duration::from_millis(10);
    const SHORTEST_PATIENCE_MS: u64 = 5;
    const LONGEST_PATIENCE_MS: u64 = 300;
    const WHOLE_PATIENCE: Duration = Duration::from_secs(20);
    let http = client();
    while !stop.load(Ordering::Relaxed) {
        let user_id = format!("user {}", dice.roll(7));
        let (stream, knobs) = (dice.roll(4) > 0, knobs(&mut dice));
        let request = question(&http, *address.borrow(), &user_id, &chat(stream, &knobs));
        let leaves = dice.roll(6) == 0;
        let hasty = Duration::from_millis(SHORTEST_PATIENCE_MS + dice.roll(LONGEST_PATIENCE_MS));
        let patience = if leaves { hasty } else { WHOLE_PATIENCE };
        if let Ok(Some(seen)) = tokio::time::timeout(patience, ask(request, &user_id)).await {
            history.lock().unwrap().push(seen.without_body());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How `OpenRouter` answers one call.
fn knobs(dice: &mut Dice) -> Value {
    let mut knobs = json!({ "chunks": 1 + dice.roll(20), "chunk_delay_ms": dice.roll(20), "head_delay_ms": dice.roll(30) });
    let unusual = match dice.roll(14) {
        0 => json!({ "cost": *dice.pick(&["missing", "null", "-1", "\"\"", "1e400"]) }),
        1 => json!({ "usage": *dice.pick(&["empty_choices", "null_finish", "none", "twice"]) }),
        2 => json!({ "cut_after_bytes": dice.roll(4_000) }),
        3 => json!({ "midstream_error_after": dice.roll(5) }),
        4 => json!({ "done": false, "crlf": true }),
        5 => json!({ "frame_bytes": 1 + dice.roll(200) }),
        6 => json!({ "generation_header": false, "comments": dice.roll(3) }),
        7 => json!({ "generation_header": false, "comments": 9, "cut_after_bytes": dice.roll(120) }),
        8 => json!({ "settle_after_ms": dice.roll(4_000), "usage": "none" }),
        9 => json!({ "generation_misses": dice.roll(3), "cost": "missing" }),
        10 => json!({ "charge_on_abort": *dice.pick(&["full", "nothing"]) }),
        // An id on an error is asked about for thirty days; this row does not wait that long.
        11 => {
            json!({ "error": *dice.pick(&["402-credits", "429-upstream", "502", "html-404"]), "generation_header": false })
        }
        _ => json!({}),
    };
    knobs.as_object_mut().unwrap().extend(unusual.as_object().unwrap().clone());
    knobs
}
