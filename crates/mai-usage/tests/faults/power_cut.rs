//! Row 3: the power goes away.

use std::time::Duration;

use openrouter_sim::{Options, Simulator};

use crate::callers::{History, Seen};
use crate::checker::{calls_in, check, known_ids};
use crate::dice::Dice;
use crate::host::Mount;
use crate::killed::Load;
use crate::sidecar::Setup;
use crate::trial::{Outcome, Trial};

/// Between a start and its cut, milliseconds.
const SHORTEST_LIFE_MS: u64 = 30;
const LONGEST_LIFE_MS: u64 = 400;

/// A disk whose power fails, a sidecar on it, and employees.
struct Ground<'a> {
    disk: &'a Mount,
    setup: Setup,
    history: History,
}

impl Ground<'_> {
    /// Works for a while, then loses its power. Answers how many answers were seen.
    async fn live_and_be_cut(&self, dice: &mut Dice) {
        let mut sidecar = self.setup.start().await;
        let load = Load::start(sidecar.proxy, &self.history);
        tokio::time::sleep(Duration::from_millis(SHORTEST_LIFE_MS + dice.roll(LONGEST_LIFE_MS))).await;
        // Processor and disk lose their power together. Were the program left to run on, it could be told by a dying file
        // system that a sync has succeeded; a machine without power tells nobody anything.
        sidecar.freeze();
        self.disk.cut_power().unwrap();
        sidecar.kill();
        load.ended().await;
        self.disk.unmount().unwrap();
        self.disk.mount().unwrap();
    }

    fn seen(&self) -> Vec<Seen> {
        self.history.lock().unwrap().clone()
    }

    /// How many calls whose head a client has seen are not on record.
    async fn lost(&self) -> usize {
        let known = known_ids(&self.setup.database).await;
        self.seen()
            .iter()
            .filter_map(|seen| seen.generation_id.as_ref())
            .filter(|id| !known.contains(*id))
            .count()
    }
}

/// Row 3.
pub(crate) async fn at_any_moment(trial: Trial) -> Outcome {
    const MEBIBYTES: u32 = 512;
    let disk = match Mount::ext4(trial.path("disk"), MEBIBYTES) {
        Ok(disk) => disk,
        Err(reason) => return Outcome::Skipped(format!("no disk of our own: {reason}")),
    };
    let mut dice = trial.dice();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut setup = Setup::new(&trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "info"));
    setup.database = disk.at.join("usage.db");
    let ground = Ground { disk: &disk, setup, history: History::default() };
    let cuts = trial.depth(8, 200);
    for cut in 0..cuts {
        ground.live_and_be_cut(&mut dice).await;
        assert_eq!(ground.lost().await, 0, "acknowledged and lost at cut {cut}");
    }
    let mut sidecar = ground.setup.heal().await;
    let counts = check(&ground.setup.database, &simulator.truth(), &ground.seen()).await;
    assert!(counts.heads_seen > 50 && calls_in(&ground.setup.database, &["settled"]).await > 0);
    sidecar.kill();
    let control = losses_without_sync(&trial, &mut dice).await;
    assert!(control > 0, "the control lost nothing: this row cannot bite");
    Outcome::Counts(format!("{cuts} cuts, {counts}; without waiting for the disk {control} heads were lost"))
}

/// The control: the same program, but its commits do not wait for the disk, as with `synchronous=NORMAL`. Answers how many
/// acknowledged calls the first cut that lost any has lost.
async fn losses_without_sync(trial: &Trial, dice: &mut Dice) -> usize {
    const CUTS: u32 = 10;
    const UNSYNCED: [&str; 6] = [
        "strace",
        "--follow-forks",
        "--seccomp-bpf",
        "--quiet=all",
        "--output=/dev/null",
        "--inject=fsync,fdatasync:retval=0",
    ];
    for cut in 0..CUTS {
        let disk = Mount::ext4(trial.path(&format!("unsynced-{cut}")), 64).unwrap();
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let mut setup = Setup::new(trial, &simulator);
        setup.database = disk.at.join("usage.db");
        // The schema and the first head reach the disk, so that what is lost are calls.
        setup.start().await.kill();
        let ground = Ground { disk: &disk, setup: setup.wrapped(&UNSYNCED), history: History::default() };
        ground.live_and_be_cut(dice).await;
        let lost = ground.lost().await;
        if lost > 0 {
            return lost;
        }
    }
    0
}
