//! Copies beside a writer that never rests.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ledger::{
    CopyError, EmptyPlace, Finding, Ledger, LedgerReader, OpenError, OrganisationFacts, PlaceError,
};
use metering::OrgId;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use crate::{Books, known, now, settle};

const CALLERS: usize = 16;

const COPIES: u64 = 20;

/// So that there is more to copy each time.
const CALLS_BETWEEN: u64 = 50;

/// Callers who call again and again; how many calls they made.
struct Load {
    stop: Arc<AtomicBool>,
    settled: Arc<AtomicU64>,
    callers: JoinSet<()>,
}

impl Load {
    fn start(books: &Arc<Books>) -> Self {
        let (stop, settled, mut callers) = (Arc::default(), Arc::default(), JoinSet::new());
        for caller in 0..CALLERS {
            callers.spawn(keep_calling(books.clone(), caller, Arc::clone(&stop), Arc::clone(&settled)));
        }
        Self { stop, settled, callers }
    }

    async fn reaches(&self, settled: u64) {
        while self.settled() < settled {
            tokio::task::yield_now().await;
        }
    }

    fn settled(&self) -> u64 {
        self.settled.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.join_all().await;
    }
}

async fn keep_calling(books: Arc<Books>, caller: usize, stop: Arc<AtomicBool>, settled: Arc<AtomicU64>) {
    let user = format!("user {}", caller % 5);
    while !stop.load(Ordering::Relaxed) {
        let (call_id, _) = books.admit(&user).await;
        books.ledger.know_generation(known(call_id, &format!("gen-1790000000-{call_id}"))).await.unwrap();
        books.ledger.settle(settle(call_id, "0.000123456789")).await.unwrap();
        settled.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_copy_made_under_load_is_one_commit_and_sound() {
    let books = Arc::new(Books::new().await);
    let load = Load::start(&books);
    let (mut commits, mut meanwhile) = (0, 0);
    for number in 0..COPIES {
        let path = books.folder.path().join(format!("copy-{number}.db"));
        load.reaches(load.settled() + CALLS_BETWEEN).await;
        let before = load.settled();
        let (contents, verification) = books.ledger.reader().copy_to(&path).await.unwrap();
        assert_eq!(verification.findings, []);
        assert!(verification.entries >= before, "{} entries, {before} were settled", verification.entries);
        assert!(contents.commits > commits, "it is no later than the last");
        meanwhile += load.settled() - before;
        commits = contents.commits;
        let reader = LedgerReader::open(&path).await.unwrap();
        assert_eq!(reader.verify().await.unwrap(), verification);
        reader.close().await;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!path.with_extension("db-wal").exists() && !path.with_extension("db-shm").exists());
    }
    // A writer that stands still while it is copied has its callers wait.
    assert!(meanwhile > 10 * COPIES, "only {meanwhile} calls were settled during {COPIES} copies");
    load.end().await;
    books.assert_sound().await;
}

fn holds(path: &Path, text: &str) -> bool {
    std::fs::read(path).unwrap().windows(text.len()).any(|bytes| bytes == text.as_bytes())
}

#[tokio::test]
async fn no_key_is_anywhere_in_a_copy() {
    let books = Books::new().await;
    let keys = ["sk-or-v1-first-0123456789abcdef", "sk-or-v1-second-0123456789abcdef"];
    for key in keys {
        let facts = OrganisationFacts { api_key: Some(key.into()), ..OrganisationFacts::none(now()) };
        books.ledger.ensure_organisation(facts).await.unwrap();
    }
    books.open_call("anna", "gen-1790000000-a").await;
    let books = books.reopen().await;
    let (source, copy) = (books.folder.path().join("usage.db"), books.folder.path().join("copy.db"));
    assert!(holds(&source, keys[1]), "nothing is shown");
    books.ledger.reader().copy_to(&copy).await.unwrap();
    assert!(holds(&copy, "gen-1790000000-a") && holds(&copy, "Company_A"));
    for key in keys {
        assert!(!holds(&copy, key) && !holds(&copy, &key[..20]), "{key}");
    }
    // What is not the key's stays, and the ledger keeps it all.
    let organisation = books.ledger.organisation();
    assert!(organisation.api_key.is_some());
    assert_eq!(books.ledger.reader().contents().await.unwrap().organisation, Some(books.org.clone()));
}

#[tokio::test]
async fn a_copy_goes_nowhere_where_something_is() {
    let books = Books::new().await;
    let path = books.folder.path().join("copy.db");
    std::fs::write(&path, "mine").unwrap();
    let error = books.ledger.reader().copy_to(&path).await.unwrap_err();
    assert!(matches!(error, CopyError::File { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn a_damaged_ledger_makes_no_sound_copy() {
    let books = Books::new().await;
    let call_id = books.open_call("anna", "gen-1790000000-a").await;
    books.ledger.settle(settle(call_id, "0.5")).await.unwrap();
    let mut connection = books.connection().await;
    sqlx::query("UPDATE daily_usage SET requests = 2").execute(&mut connection).await.unwrap();
    let error = books.ledger.reader().copy_to(&books.folder.path().join("copy.db")).await.unwrap_err();
    assert!(matches!(error, CopyError::Damaged { .. }) && error.to_string().contains("roll-up"), "{error}");
}

/// What is lost is lost in the copy too, and no reason to have none.
#[tokio::test]
async fn a_ledger_that_lost_commits_is_copied() {
    let books = Books::new().await;
    let lock = books.folder.path().join("usage.db.lock");
    std::fs::write(&lock, format!("{:019}\n", 1_000)).unwrap();
    let books = books.reopen().await;
    // The writer has marked its own number since.
    std::fs::write(&lock, format!("{:019}\n", 1_000)).unwrap();
    let books = books.reopen().await;
    let lost = books.ledger.reader().verify().await.unwrap().findings;
    assert!(matches!(lost.as_slice(), [Finding::Loss(_)]), "{lost:?}");
    let path = books.folder.path().join("copy.db");
    let (_, verification) = books.ledger.reader().copy_to(&path).await.unwrap();
    assert_eq!(verification.findings, lost);
}

#[tokio::test]
async fn a_copy_in_an_empty_place_goes_on() {
    let books = Books::new().await;
    let call_id = books.open_call("anna", "gen-1790000000-a").await;
    let copy = books.folder.path().join("elsewhere.db.restoring");
    let (contents, _) = books.ledger.reader().copy_to(&copy).await.unwrap();
    let elsewhere = books.folder.path().join("elsewhere.db");
    let place = EmptyPlace::take(&elsewhere).unwrap();
    assert_eq!(place.marked_commits(), None);
    assert!(matches!(EmptyPlace::take(&elsewhere), Err(PlaceError::Open(OpenError::Busy { .. }))));
    place.fill(&copy).unwrap();
    assert!(!copy.exists() && matches!(EmptyPlace::look(&elsewhere), Err(PlaceError::Taken { .. })));
    assert!(matches!(EmptyPlace::take(&elsewhere), Err(PlaceError::Taken { .. })));
    let tasks = TaskTracker::new();
    let (ledger, _stopped) = Ledger::open(&crate::options(elsewhere, &tasks)).await.unwrap();
    assert!(ledger.reader().contents().await.unwrap().commits > contents.commits);
    // The call that was open is settled there, and its cost is booked once.
    ledger.settle(settle(call_id, "0.5")).await.unwrap();
    let verification = ledger.reader().verify().await.unwrap();
    assert_eq!((verification.entries, verification.findings), (1, vec![]));
}

#[tokio::test]
async fn a_file_that_the_program_cannot_go_on_with_is_named() {
    let books = Books::new().await;
    let path = books.folder.path().join("copy.db");
    books.ledger.reader().copy_to(&path).await.unwrap();
    let open = async |org: &OrgId| LedgerReader::open_to_go_on(&path, Some(org)).await;
    open(&books.org).await.unwrap().close().await;
    let error = open(&OrgId::of_name("another")).await.unwrap_err();
    assert!(matches!(error, OpenError::OtherOrganisation { .. }), "{error}");
    crate::migrate_to_the_future(&path).await;
    let error = open(&books.org).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { version: 9999, .. }), "{error}");
}

/// `SQLite` would apply it to whatever database has its name.
#[tokio::test]
async fn a_log_without_its_database_is_no_empty_place() {
    let folder = tempfile::tempdir().unwrap();
    let (path, log) = (folder.path().join("usage.db"), folder.path().join("usage.db-wal"));
    std::fs::write(&log, "").unwrap();
    EmptyPlace::look(&path).unwrap();
    std::fs::write(&log, "commits").unwrap();
    assert!(matches!(EmptyPlace::take(&path), Err(PlaceError::Log { path }) if path == log));
}
