//! The operator's commands as processes: exit codes, what is on which stream, what `.env` is good for.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use openrouter_sim::{DEFAULT_MANAGEMENT_KEY, Options, Simulator};
use tempfile::TempDir;
use tokio::process::Command;

pub(crate) struct Ground {
    pub(crate) sim: Simulator,
    folder: TempDir,
}

pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ground {
    pub(crate) async fn new() -> Self {
        let sim = Simulator::start(Options { keys: Vec::new(), ..Options::default() }).await.unwrap();
        let ground = Self { sim, folder: tempfile::tempdir().unwrap() };
        private(&ground.path("management"), DEFAULT_MANAGEMENT_KEY);
        std::fs::create_dir(ground.path("client")).unwrap();
        ground
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// With the account's management key.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        let (management, host) = (self.path("management").display().to_string(), self.sim.base_url());
        let account = ["--management-key-file", &management, "--openrouter-host", &host];
        Self::run_alone(&[arguments, &account].concat()).await
    }

    pub(crate) async fn run_alone(arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mai-usage"));
        command.args(arguments).env_clear().stdin(std::process::Stdio::null());
        let output = command.output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Ended { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    pub(crate) async fn setup(&self) -> Ended {
        let folder = self.path("client").display().to_string();
        let name = ["--organization", "ABC Company Sp. z o.o.", "--limit", "250"];
        self.run(&[&["setup", "--folder", &folder, "--production"][..], &name].concat()).await
    }
}

fn private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    set_mode(path, 0o600);
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn setup_ends_with_the_codes_of_the_document() {
    let ground = Ground::new().await;
    let done = ground.setup().await;
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("is complete: ABC Company Sp. z o.o. (mai_client_362862c8)"), "{}", done.out);
    assert!(!done.out.contains("sk-or-") && !done.err.contains("sk-or-"), "{}{}", done.out, done.err);
    let again = ground.setup().await;
    assert_eq!(again.code, Some(0), "{}", again.err);

    let held = std::fs::File::open(ground.path("client")).unwrap();
    held.lock().unwrap();
    assert_eq!(ground.setup().await.code, Some(75));
    drop(held);
    set_mode(&ground.path("client/.env"), 0o640);
    let refused = ground.setup().await;
    assert!(refused.code == Some(78) && refused.err.contains("hint: chmod 600"), "{}", refused.err);
    set_mode(&ground.path("client/.env"), 0o600);
    private(&ground.path("management"), "sk-or-v1-wrong");
    let wrong = ground.setup().await;
    assert!(
        wrong.code == Some(1) && wrong.err.starts_with("error: OpenRouter does not accept"),
        "{}",
        wrong.err
    );
    ground.sim.stop().await;
}

/// What one command prints is what the next one reads.
#[tokio::test]
async fn keys_tell_data_on_standard_output_only() {
    let ground = Ground::new().await;
    let made = ground.run(&["keys", "create", "--name", "Company_A", "--limit", "250"]).await;
    assert_eq!((made.code, made.out.lines().count()), (Some(0), 1), "{}", made.err);
    assert!(made.out.starts_with("sk-or-v1-") && made.err.contains("told this once"), "{}", made.err);
    let listed = ground.run(&["keys", "list", "--json"]).await;
    let keys: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(
        (&keys[0]["name"], &keys[0]["limit"], listed.err.as_str()),
        (&"Company_A".into(), &"250".into(), "")
    );
    let unsure = ground.run(&["keys", "delete", "Company_A"]).await;
    assert!(unsure.code == Some(2) && unsure.err.contains("hint: --yes"), "{}", unsure.err);
    assert_eq!(ground.run(&["keys", "delete", "Company_A", "--yes"]).await.code, Some(0));
    assert_eq!(ground.run(&["keys", "show", "Company_A"]).await.code, Some(1));
    ground.sim.stop().await;
}

#[tokio::test]
async fn a_database_ends_with_the_codes_of_the_document() {
    let folder = tempfile::tempdir().unwrap();
    private(&folder.path().join(".env"), "ORGANIZATION_NAME=Company_A\n");
    let db = async |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mai-usage"));
        command.arg("db").args(arguments).arg("--folder").arg(folder.path());
        let output = command.env_clear().stdin(std::process::Stdio::null()).output().await.unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, err) = db(&["cleanup"]).await;
    assert!(code == Some(78) && err.contains("hint: `mai-usage db init`"), "{err}");
    assert_eq!(db(&["validate"]).await.0, Some(1));
    assert_eq!(db(&["init"]).await.0, Some(0));
    assert_eq!(db(&["validate"]).await.0, Some(0));
    let lock = std::fs::File::open(folder.path().join("data/mai-usage.db.lock")).unwrap();
    lock.lock().unwrap();
    let (code, err) = db(&["init"]).await;
    assert!(code == Some(75) && err.contains("hint: "), "{err}");
    assert_eq!(db(&["cleanup", "--dry-run"]).await.0, Some(0));
    assert_eq!(db(&["import", "--from", "not-there"]).await.0, Some(1));
    assert_eq!(db(&["import"]).await.0, Some(2));
}
