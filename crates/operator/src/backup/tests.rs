//! A backup that is broken off after each of its steps, and one without room.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::SignedDuration;
use ledger::{Ledger, LedgerOptions, LedgerReader, OrganisationFacts};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::*;
use crate::private_file;

const KEY: &str = "sk-or-v1-of-this-test-only";

fn clock_at(seconds: i64) -> Clock {
    let start: Timestamp = "2026-11-22T17:00:00Z".parse().unwrap();
    Clock::new(move || start + SignedDuration::from_secs(seconds))
}

/// A client in a directory of clients, with a ledger that is not open.
async fn client() -> (TempDir, Client) {
    let clients = tempfile::tempdir().unwrap();
    let folder = clients.path().join("company-a");
    std::fs::create_dir_all(folder.join("data")).unwrap();
    private_file::create(&folder.join(".env"), "ORGANIZATION_NAME=Company_A\n").unwrap();
    let client = Client::read(&folder).unwrap();
    let tasks = TaskTracker::new();
    let organisation = OrganisationFacts {
        name: Some("Company_A".to_owned()),
        api_key: Some(KEY.into()),
        ..OrganisationFacts::none(clock_at(0).now())
    };
    let options = LedgerOptions { path: client.database(), organisation, tasks: tasks.clone() };
    let (ledger, stopped) = Ledger::open(&options).await.unwrap();
    drop(ledger);
    stopped.await.unwrap();
    (clients, client)
}

fn files(client: &Client) -> Vec<String> {
    let entries = std::fs::read_dir(client.folder.join(name::FOLDER)).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Every file that has the name of a backup is one.
async fn assert_whole(client: &Client) -> usize {
    let folder = client.folder.join(name::FOLDER);
    let backups = name::find(&folder, &client.name).unwrap().backups;
    for at in &backups {
        let file = folder.join(name::of(&client.name, *at));
        let reader = LedgerReader::open(&file).await.unwrap();
        assert_eq!(reader.verify().await.unwrap().findings, []);
        reader.close().await;
        let told = std::fs::read_to_string(name::checksum(&file)).unwrap();
        assert_eq!(checksum::read(&told), Some(checksum::of(&file).unwrap()));
    }
    backups.len()
}

#[tokio::test]
async fn a_backup_is_private_and_is_found_again() {
    let (_clients, client) = client().await;
    assert_eq!(last(&client.folder), None);
    let made = make(&client, &clock_at(0)).await.unwrap();
    assert_eq!((made.entries, last(&client.folder)), (0, Some(made.at)));
    assert_eq!(mode(&client.folder.join(name::FOLDER)), 0o700);
    let sum = name::checksum(&made.file);
    assert_eq!((mode(&made.file), mode(&sum)), (0o600, 0o600));
    assert_eq!(files(&client).len(), 2);
    // In the same millisecond there is room for another.
    let again = make(&client, &clock_at(0)).await.unwrap();
    assert_eq!(again.at.duration_since(made.at), SignedDuration::from_millis(1));
    assert_eq!(assert_whole(&client).await, 2);
}

/// The plug is pulled after so many steps, and everything else the next run finds.
#[tokio::test]
async fn a_run_that_is_broken_off_leaves_no_half_backup() {
    let (_clients, client) = client().await;
    make(&client, &clock_at(0)).await.unwrap();
    let keep = Some(Keep { days: 0, months: 0 });
    for after in 0..5 {
        let wanted = Wanted { keep, ..Wanted::of(&client) };
        let mut work = Work::new(wanted, &clock_at(10 + i64::from(after))).unwrap();
        let steps = work.plan();
        for step in steps.iter().take(usize::try_from(after).unwrap()) {
            work.apply(step).await.unwrap();
        }
        drop(work);
        assert!(assert_whole(&client).await > 0, "after {after} of {steps:?}");
    }
    let wanted = Wanted { keep, ..Wanted::of(&client) };
    let made = Work::new(wanted, &clock_at(60)).unwrap().run().await.unwrap();
    assert_eq!(assert_whole(&client).await, 1);
    let name = made.file.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(files(&client), [name.clone(), format!("{name}.sha256")]);
}

#[tokio::test]
async fn without_room_nothing_is_written() {
    let (_clients, client) = client().await;
    make(&client, &clock_at(0)).await.unwrap();
    let before = files(&client);
    let wanted = Wanted { reserve_bytes: u64::MAX, ..Wanted::of(&client) };
    let error = Work::new(wanted, &clock_at(1)).unwrap().run().await.unwrap_err();
    assert!(matches!(error, OperatorError::Backup(BackupError::Space { .. })), "{error}");
    assert!(error.to_string().contains("make room"), "{error}");
    assert_eq!(files(&client), before);
}

#[tokio::test]
async fn a_ledger_that_is_not_there_makes_no_folder() {
    let (_clients, client) = client().await;
    std::fs::remove_file(client.database()).unwrap();
    let error = make(&client, &clock_at(0)).await.unwrap_err();
    assert!(matches!(error, OperatorError::Backup(BackupError::NoDatabase { .. })), "{error}");
    assert!(!client.folder.join(name::FOLDER).exists());
}

/// What is not of this client, or not of this program, stays whatever is removed.
#[tokio::test]
async fn only_its_own_backups_are_removed() {
    let (_clients, client) = client().await;
    let folder = client.folder.join(name::FOLDER);
    make(&client, &clock_at(0)).await.unwrap();
    let others = ["notes.txt", "company-a-b-20200101T000000.000Z.db", "company-a-20200101T000000Z.db"];
    for other in others {
        std::fs::write(folder.join(other), "").unwrap();
    }
    let wanted = Wanted { keep: Some(Keep { days: 0, months: 0 }), ..Wanted::of(&client) };
    let made = Work::new(wanted, &clock_at(1)).unwrap().run().await.unwrap();
    assert_eq!(made.removed.len(), 1);
    let left = files(&client);
    assert!(others.iter().all(|other| left.iter().any(|name| name == other)), "{left:?}");
    assert_eq!(left.len(), others.len() + 2);
}

#[tokio::test]
async fn two_at_once_are_one_too_many() {
    let (_clients, client) = client().await;
    let _first = Work::new(Wanted::of(&client), &clock_at(0)).unwrap();
    let error = make(&client, &clock_at(0)).await.unwrap_err();
    assert_eq!(error.failure(), crate::Failure::Busy);
}

#[tokio::test]
async fn the_plan_names_what_is_done() {
    let (_clients, client) = client().await;
    let wanted = Wanted { folder: PathBuf::from("/backups"), ..Wanted::of(&client) };
    let facts = Facts::gather(&wanted, clock_at(0).now()).unwrap();
    let told: Vec<String> = plan(&wanted, &facts).iter().map(ToString::to_string).collect();
    assert!(told[0].starts_with("copy ") && told[0].contains("without the key"), "{told:?}");
    assert_eq!(told[2], "name it /backups/company-a-20261122T170000.000Z.db");
}
