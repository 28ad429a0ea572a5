//! A backup whose process is killed while it writes, or that can write no more; and the codes of its ends.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};

use crate::operator::{Ground, set_mode};

/// `SIGXFSZ`: the kernel kills who writes past the limit.
const KILLED_FOR_SIZE: i32 = 25;

/// The user of the sidecar's container.
const CONTAINER: u32 = 65532;

/// Kilobytes of the copy after which it is killed; the last one is the whole of it but a little.
const KILLED_AT: [u64; 4] = [40, 64, 100, 128];

fn mai_usage(before: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("{before} exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_mai-usage")]);
    command.args(arguments).env_clear().output().unwrap()
}

fn backup(before: &str, folder: &Path) -> Output {
    mai_usage(before, &["backup", "--folder", folder.to_str().unwrap()])
}

#[track_caller]
fn check(output: &Output, code: i32, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(words), "{said}");
}

/// The backup that was made.
#[track_caller]
fn name_of(output: &Output) -> String {
    check(output, 0, "entries");
    String::from_utf8_lossy(&output.stdout).split(": ").next().unwrap().to_owned()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Every file with the name of a backup is one.
#[track_caller]
fn assert_sound(client: &Path, backups: usize) {
    let folder = client.join("backups");
    let names = files(&folder);
    let of_a_copy = |name: &&String| Path::new(name).extension() == Some("db".as_ref());
    let whole: Vec<&String> = names.iter().filter(of_a_copy).collect();
    assert_eq!(whole.len(), backups, "{names:?}");
    for name in whole {
        check(&mai_usage("", &["verify", "--database", folder.join(name).to_str().unwrap()]), 0, "ok");
    }
}

#[tokio::test]
async fn a_kill_in_the_middle_leaves_no_half_backup() {
    let ground = Ground::new().await;
    assert_eq!(ground.setup().await.code, Some(0));
    let client = ground.path("client");
    check(&backup("", &client), 0, "entries");
    for (number, kilobytes) in KILLED_AT.into_iter().enumerate() {
        let killed = backup(&format!("ulimit -c 0; ulimit -f {kilobytes};"), &client);
        assert_eq!(killed.status.signal(), Some(KILLED_FOR_SIZE), "{kilobytes}: {killed:?}");
        assert_sound(&client, 1 + number);
        let left = files(&client.join("backups"));
        assert!(left.iter().any(|name| name.ends_with(".unfinished")), "{left:?}");
        // The next run cleans up.
        check(&backup("", &client), 0, "entries");
        assert_sound(&client, 2 + number);
        let left = files(&client.join("backups"));
        assert_eq!(left.len(), 2 * (2 + number), "{left:?}");
    }
    ground.sim.stop().await;
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_restore_leaves_no_half_ledger() {
    let ground = Ground::new().await;
    assert_eq!(ground.setup().await.code, Some(0));
    let client = ground.path("client");
    let from = name_of(&backup("", &client));
    std::fs::remove_file(client.join("data/mai-usage.db")).unwrap();
    let restore =
        |before: &str| mai_usage(before, &["restore", "--folder", client.to_str().unwrap(), "--from", &from]);
    for kilobytes in KILLED_AT {
        let killed = restore(&format!("ulimit -c 0; ulimit -f {kilobytes};"));
        assert_eq!(killed.status.signal(), Some(KILLED_FOR_SIZE), "{kilobytes}: {killed:?}");
        assert!(!client.join("data/mai-usage.db").exists());
        check(&restore(&format!("trap '' XFSZ; ulimit -f {kilobytes};")), 1, "cannot copy");
        let left = files(&client.join("data"));
        assert!(!left.iter().any(|name| name.ends_with(".restoring")), "{left:?}");
    }
    check(&restore(""), 0, "restored");
    assert_eq!(files(&client.join("data")), ["mai-usage.db", "mai-usage.db.lock"]);
    ground.sim.stop().await;
}

/// Root makes backups of what the sidecar's container owns, and the container must be able to go on. Who is not root
/// owns everything himself.
#[tokio::test]
async fn files_belong_to_whom_the_ledger_belongs() {
    let ground = Ground::new().await;
    assert_eq!(ground.setup().await.code, Some(0));
    let client = ground.path("client");
    let data = client.join("data");
    let root = rustix::process::geteuid().is_root();
    let owner = if root { CONTAINER } else { rustix::process::geteuid().as_raw() };
    if root {
        chown(&data, Some(owner), Some(owner)).unwrap();
        for file in files(&data) {
            chown(data.join(file), Some(owner), Some(owner)).unwrap();
        }
    }
    let assert_owned = |folder: &Path| {
        for file in files(folder) {
            assert_eq!(std::fs::metadata(folder.join(&file)).unwrap().uid(), owner, "{file}");
        }
        assert_eq!(std::fs::metadata(folder).unwrap().uid(), owner);
    };
    let from = name_of(&backup("", &client));
    assert_owned(&data);
    assert_owned(&client.join("backups"));
    for file in files(&data) {
        std::fs::remove_file(data.join(file)).unwrap();
    }
    let restored = mai_usage("", &["restore", "--folder", client.to_str().unwrap(), "--from", &from]);
    check(&restored, 0, "restored");
    assert_owned(&data);
    ground.sim.stop().await;
}

/// The limit on a file's size stands for a disk without room: no root is needed for it.
#[tokio::test]
async fn where_no_more_can_be_written_nothing_is_left() {
    let ground = Ground::new().await;
    assert_eq!(ground.setup().await.code, Some(0));
    let client = ground.path("client");
    for kilobytes in KILLED_AT {
        let full = backup(&format!("trap '' XFSZ; ulimit -f {kilobytes};"), &client);
        check(&full, 1, "cannot write");
        assert_eq!(files(&client.join("backups")), Vec::<String>::new());
    }
    let database = client.join("data/mai-usage.db");
    check(&mai_usage("", &["verify", "--database", database.to_str().unwrap()]), 0, "ok");
    check(&backup("", &client), 0, "entries");
    assert_sound(&client, 1);
    ground.sim.stop().await;
}

#[tokio::test]
async fn backup_and_restore_end_with_the_codes_of_the_document() {
    let ground = Ground::new().await;
    assert_eq!(ground.setup().await.code, Some(0));
    let client = ground.path("client");
    let database = client.join("data/mai-usage.db");
    let from = name_of(&backup("", &client));
    let restore = || mai_usage("", &["restore", "--folder", client.to_str().unwrap(), "--from", &from]);
    check(&restore(), 1, "is not overwritten; hint:");
    set_mode(&database, 0o640);
    check(&backup("", &client), 78, "hint: chmod 600");
    std::fs::remove_file(&database).unwrap();
    check(&backup("", &client), 1, "hint: was the client ever started?");
    let clients = client.parent().unwrap().to_str().unwrap();
    check(&mai_usage("", &["backup", "--all", "--clients", clients]), 1, "1 of 1 backups failed");
    check(&restore(), 0, "restored");
    check(&mai_usage("", &["verify", "--database", database.to_str().unwrap()]), 0, "ok");
    ground.sim.stop().await;
}
