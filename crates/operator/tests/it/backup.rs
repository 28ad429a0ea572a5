//! Backups beside running sidecars, and what comes of them after a disaster.

use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clap::Parser;
use jiff::{SignedDuration, Timestamp};
use ledger::{Finding, LedgerReader, OpenError};
use metering::{Clock, OrgId};
use openrouter_sim::{DEFAULT_KEY, DEFAULT_MANAGEMENT_KEY};
use operator::{BackupArgs, Failure, OperatorError, ReconcileArgs, RestoreArgs};
use serde_json::Value;

use crate::Said;
use crate::house::{House, all_settled, database, system_clock, verified};
use crate::person::Person;

#[derive(Parser)]
struct BackupLine {
    #[command(flatten)]
    arguments: BackupArgs,
}

#[derive(Parser)]
struct RestoreLine {
    #[command(flatten)]
    arguments: RestoreArgs,
}

#[derive(Parser)]
struct ReconcileLine {
    #[command(flatten)]
    arguments: ReconcileArgs,
}

async fn backup(arguments: &[&str]) -> (Result<(), OperatorError>, Said) {
    let line = ["backup"].into_iter().chain(arguments.iter().copied());
    let (mut console, printed) = Person::absent().console();
    let arguments = BackupLine::try_parse_from(line).unwrap().arguments;
    let done = operator::backup(arguments, &mut console, &system_clock()).await;
    (done, printed.said())
}

/// A backup of the client in `folder`, told in JSON.
async fn backed_up(folder: &Path) -> Value {
    let (done, said) = backup(&["--folder", text(folder), "--json"]).await;
    done.unwrap();
    let [made]: [Value; 1] = serde_json::from_str(&said.out).unwrap();
    made
}

async fn restore(folder: &Path, from: &str, more: &[&str]) -> Result<Said, OperatorError> {
    let always = ["restore", "--folder", text(folder), "--from", from];
    let line = always.into_iter().chain(more.iter().copied());
    let (mut console, printed) = Person::absent().console();
    let arguments = RestoreLine::try_parse_from(line).unwrap().arguments;
    operator::restore(arguments, &mut console, &system_clock()).await?;
    Ok(printed.said())
}

/// What `reconcile` tells of every day of the last weeks, 72 hours after the calls.
async fn reconciled(house: &House, folder: &Path) -> Value {
    let management = house.server.path().join("management");
    std::fs::write(&management, DEFAULT_MANAGEMENT_KEY).unwrap();
    crate::set_mode(&management, 0o600);
    let host = house.sim.base_url();
    let today = system_clock().now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let (from, to) = (today.yesterday().unwrap().to_string(), today.tomorrow().unwrap().to_string());
    let line = ["reconcile", "--json", "--folder", text(folder), "--from", &from, "--to", &to];
    let account = ["--management-key-file", text(&management), "--openrouter-host", &host];
    let arguments = ReconcileLine::try_parse_from(line.into_iter().chain(account)).unwrap().arguments;
    let (mut console, printed) = Person::absent().console();
    let later = Clock::new(|| system_clock().now() + SignedDuration::from_hours(72));
    operator::reconcile(arguments, &mut console, &later).await.unwrap();
    let mut told: Vec<Value> = serde_json::from_str(&printed.said().out).unwrap();
    told.remove(0)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn holds(path: &Path, words: &str) -> bool {
    std::fs::read(path).unwrap().windows(words.len()).any(|bytes| bytes == words.as_bytes())
}

/// A second process would do the same: nothing but the files is shared.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_backups_beside_a_busy_sidecar_are_all_sound() {
    let house = House::new().await;
    let folder = house.client("company-a");
    let sidecar = house.start(&folder).await;
    let load = sidecar.under_load(8);
    let mut entries = 0;
    for _ in 0..20 {
        load.reaches(load.answered() + 10).await;
        let made = backed_up(&folder).await;
        let file = PathBuf::from(made["file"].as_str().unwrap());
        let verification = verified(&file).await;
        assert_eq!(verification.findings, []);
        assert_eq!(made["entries"], verification.entries);
        assert_eq!(made["cost_usd"], verification.cost.to_string());
        assert!(verification.entries > entries, "{made}");
        entries = verification.entries;
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!holds(&file, DEFAULT_KEY), "the key is in the copy");
    }
    load.end().await;
    sidecar.stop().await;
    assert!(holds(&database(&folder), DEFAULT_KEY), "nothing is shown");
    let backups = folder.join("backups");
    assert_eq!(files(&backups).len(), 40);
    let sums = files(&backups).into_iter().filter(|name| name.ends_with(".sha256"));
    let mut check = Command::new("sha256sum");
    check.args(["--check", "--strict", "--quiet"]).args(sums).current_dir(&backups);
    assert!(check.status().unwrap().success());
    house.sim.stop().await;
}

/// What the backup does not hold is exactly what was billed since, and comes back from `OpenRouter`'s statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_server_goes_on_elsewhere() {
    let house = House::new().await;
    let folder = house.client("company-a");
    let sidecar = house.start(&folder).await;
    let load = sidecar.under_load(8);
    load.reaches(100).await;
    let made = backed_up(&folder).await;
    let copied_by = system_clock().now();
    load.reaches(load.answered() + 100).await;
    load.end().await;
    sidecar.stop().await;

    // Another server: the folder has the same name, an .env, and nothing else.
    let backups = house.server.path().join("elsewhere");
    std::fs::rename(folder.join("backups"), &backups).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    let folder = house.client("company-a");
    std::fs::remove_dir(folder.join("data")).unwrap();
    let from = backups.join(Path::new(made["file"].as_str().unwrap()).file_name().unwrap());
    let said = restore(&folder, text(&from), &["--json"]).await.unwrap();
    let restored: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&restored["entries"], &restored["cost_usd"]), (&made["entries"], &made["cost_usd"]));
    assert_eq!((&restored["checksum"], &restored["missing_commits"]), (&true.into(), &Value::Null));
    let instant = |name: &str| restored[name].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(instant("missing_from") <= copied_by && copied_by < instant("missing_until"), "{restored}");
    assert_eq!(files(&folder.join("data")), ["mai-usage.db", "mai-usage.db.lock"]);
    let permissions = std::fs::metadata(database(&folder)).unwrap().permissions();
    assert_eq!(permissions.mode() & 0o777, 0o600);

    // It goes on: what was open is settled, new calls are booked, the key is there again.
    let before_the_disaster = house.bill();
    let sidecar = house.start(&folder).await;
    sidecar.ask("anna").await;
    all_settled(&database(&folder)).await;
    let after = house.bill() - before_the_disaster;
    sidecar.stop().await;
    let verification = verified(&database(&folder)).await;
    assert_eq!(verification.findings, []);
    assert!(holds(&database(&folder), DEFAULT_KEY), "the key of .env is not recorded");
    assert!(verification.entries > made["entries"].as_u64().unwrap());
    // What is missing is what was billed between the backup and the disaster; nothing else.
    let reader = LedgerReader::open(&database(&folder)).await.unwrap();
    let orphans = reader.unsettled(None).await.unwrap().orphan;
    reader.close().await;
    let missing = house.bill() - verification.cost.pico();
    assert!(missing > 0, "nothing was lost, so nothing is shown");
    assert!(missing < house.bill() - after, "nothing was saved");
    assert!(orphans <= 8, "{orphans} calls were between W1 and W2 when the copy was made");

    // Three days later the statement is final: what was lost is booked, once.
    house.sim.advance(Duration::from_hours(72));
    let first = reconciled(&house, &folder).await;
    assert!(first["days"].as_array().unwrap().iter().any(|day| day["done"]["unattributed"] != 0), "{first}");
    let once = verified(&database(&folder)).await;
    assert_eq!((once.findings, once.cost.pico()), (vec![], house.bill()));
    let second = reconciled(&house, &folder).await;
    let twice = verified(&database(&folder)).await;
    assert_eq!((twice.entries, twice.cost), (once.entries, once.cost));
    for told in [first, second] {
        assert_eq!(told["total"]["difference"], "0", "{told}");
        assert_eq!(told["total"]["bill"], once.cost.to_string(), "{told}");
    }
    house.sim.stop().await;
}

/// The file that was lost is known to have had more commits: that is told, and not forgotten.
#[tokio::test]
async fn what_an_older_copy_lacks_stays_known() {
    let house = House::new().await;
    let folder = house.client("company-a");
    let sidecar = house.start(&folder).await;
    sidecar.ask("anna").await;
    let made = backed_up(&folder).await;
    sidecar.ask("anna").await;
    all_settled(&database(&folder)).await;
    let from = made["file"].as_str().unwrap();
    let refused = restore(&folder, from, &[]).await.unwrap_err();
    assert!(refused.to_string().contains("is not overwritten"), "{refused}");
    // Deleted under a running sidecar, it is still in use.
    let kept = house.server.path().join("kept.db");
    std::fs::rename(database(&folder), &kept).unwrap();
    for rest in ["-wal", "-shm"] {
        let name = format!("data/mai-usage.db{rest}");
        std::fs::rename(folder.join(&name), house.server.path().join(format!("kept.db{rest}"))).unwrap();
    }
    let busy = restore(&folder, from, &[]).await.unwrap_err();
    assert!(busy.to_string().contains("in use by another mai-usage"), "{busy}");
    assert!(matches!(busy, OperatorError::Ledger(OpenError::Busy { .. })), "{busy:?}");
    sidecar.stop().await;

    let said = restore(&folder, from, &["--json"]).await.unwrap();
    let missing = serde_json::from_str::<Value>(&said.out).unwrap()["missing_commits"].as_i64().unwrap();
    assert!(missing > 0, "{}", said.out);
    let findings = verified(&database(&folder)).await.findings;
    let [Finding::Loss(words)] = findings.as_slice() else { panic!("{findings:?}") };
    assert!(words.starts_with(&format!("commits: {missing} are missing")), "{words}");
    // A start does not hide it, and the next backup is made all the same and says so.
    house.start(&folder).await.stop().await;
    assert_eq!(verified(&database(&folder)).await.findings.len(), 1);
    let (done, said) = backup(&["--folder", text(&folder)]).await;
    done.unwrap();
    assert!(said.notes.contains("the ledger itself lacks commits:"), "{}", said.notes);
    house.sim.stop().await;
}

#[tokio::test]
async fn a_person_chooses_from_the_backups() {
    let house = House::new().await;
    let folder = house.client("company-a");
    house.start(&folder).await.stop().await;
    let (first, second) = (backed_up(&folder).await, backed_up(&folder).await);
    std::fs::remove_file(database(&folder)).unwrap();
    let line = ["restore", "--folder", text(&folder)];
    let restore = async |person: Person| {
        let (mut console, printed) = person.console();
        let arguments = RestoreLine::try_parse_from(line).unwrap().arguments;
        operator::restore(arguments, &mut console, &system_clock()).await.map(|()| printed.said())
    };
    let error = restore(Person::absent()).await.unwrap_err();
    assert!(error.to_string().contains("hint: --from") && error.failure() == Failure::Usage, "{error}");
    let file = |made: &Value| PathBuf::from(made["file"].as_str().unwrap());
    let wanted = file(&first).file_name().unwrap().to_str().unwrap().to_owned();
    let said = restore(Person::who_answers([wanted.as_str()])).await.unwrap();
    assert!(said.out.contains(&wanted) && file(&second).exists(), "{}", said.out);
    assert_eq!(verified(&database(&folder)).await.findings, []);
    house.sim.stop().await;
}

#[tokio::test]
async fn what_is_damaged_or_not_its_own_is_refused() {
    let house = House::new().await;
    let (folder, other) = (house.client("company-a"), house.client("company-b"));
    let sidecar = house.start(&folder).await;
    sidecar.ask("anna").await;
    all_settled(&database(&folder)).await;
    sidecar.stop().await;
    let made = backed_up(&folder).await;
    let from = made["file"].as_str().unwrap();
    let refused = async |folder: &Path, words: &str| {
        let error = restore(folder, from, &[]).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains(".restoring"), "{error}");
        assert!(!database(folder).exists() && !files(&folder.join("data")).join(" ").contains("restoring"));
        error
    };
    // Another organisation's .env, by its name or by its id; a renamed one keeps the id.
    let error = refused(&other, "belongs to the organisation").await;
    assert!(matches!(error, OperatorError::Ledger(_)), "{error}");
    let env = other.join(".env");
    let of_another = std::fs::read_to_string(&env).unwrap();
    let with_id = |id: &str| format!("{of_another}OPENROUTER_EXTERNAL_USER={id}\n");
    std::fs::write(&env, with_id("mai_client_00000000")).unwrap();
    refused(&other, "hint: set OPENROUTER_EXTERNAL_USER to mai_client_").await;
    std::fs::write(&env, with_id(OrgId::of_name("company-a").as_str())).unwrap();
    // The log of a database that is gone would be taken for that of this one.
    let log = other.join("data/mai-usage.db-wal");
    std::fs::write(&log, "calls").unwrap();
    refused(&other, "move it away").await;
    std::fs::remove_file(log).unwrap();
    // One byte.
    let file = OpenOptions::new().read(true).write(true).open(from).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();
    refused(&other, "its checksum is not that of").await;
    let error = restore(&other, from, &["--dry-run"]).await.unwrap_err();
    assert!(error.to_string().contains("its checksum is not that of"), "{error}");
    file.write_all_at(&byte, middle).unwrap();
    // No ledger, and no checksum that says so.
    let sum = format!("{from}.sha256");
    std::fs::remove_file(&sum).unwrap();
    let bytes = std::fs::read(from).unwrap();
    std::fs::write(from, "no database").unwrap();
    refused(&other, "no ledger that can be read").await;
    std::fs::write(from, "").unwrap();
    refused(&other, "no ledger that can be read").await;
    std::fs::write(from, &bytes).unwrap();
    restore(&other, from, &["--dry-run"]).await.unwrap();
    assert!(!database(&other).exists());
    let said = restore(&other, from, &[]).await.unwrap();
    assert!(said.notes.contains("no checksum") && said.out.contains("are missing"), "{said:?}");
    house.sim.stop().await;
}

#[tokio::test]
async fn one_client_that_fails_does_not_stop_the_others() {
    let house = House::new().await;
    for name in ["company-a", "company-b", "company-c", "company-d"] {
        let folder = house.client(name);
        house.start(&folder).await.stop().await;
    }
    let of = |name: &str| house.client(name);
    crate::set_mode(&database(&of("company-b")), 0o640);
    std::fs::write(of("company-c").join(".env"), "no assignment\n").unwrap();
    let clients = house.server.path().join("srv");
    let all = ["--all", "--clients", text(&clients)];
    let (planned, said) = backup(&[&all[..], &["--dry-run"]].concat()).await;
    planned.unwrap_err();
    assert!(said.out.contains("company-a: would copy") && !of("company-a").join("backups").exists());
    let (done, said) = backup(&[&all[..], &["--json"]].concat()).await;
    let error = done.unwrap_err();
    assert_eq!((error.to_string().as_str(), error.failure()), ("2 of 4 backups failed", Failure::Other));
    let told: Vec<Value> = serde_json::from_str(&said.out).unwrap();
    let failed: Vec<bool> = told.iter().map(|client| client.get("error").is_some()).collect();
    assert_eq!(failed, [false, true, true, false]);
    assert!(said.notes.contains("company-b") && said.notes.contains("chmod 600"), "{}", said.notes);
    assert_eq!(files(&of("company-a").join("backups")).len(), 2);
    assert_eq!(files(&of("company-d").join("backups")).len(), 2);
    assert_eq!(files(&of("company-b").join("backups")), Vec::<String>::new());
    house.sim.stop().await;
}
