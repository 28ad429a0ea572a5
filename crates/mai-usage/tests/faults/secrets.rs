//! Row 18, and what must never be told in any other: where it is looked for, and in which spellings.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
use openrouter_sim::{DEFAULT_KEY, DEFAULT_MANAGEMENT_KEY, Options, Simulator};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::callers::{chat, question};
use crate::checker::{calls_in, connect};
use crate::dice::Dice;
use crate::sidecar::{PROGRAM, Setup, Sidecar, client};
use crate::trial::{Outcome, Trial};

/// What the mAI container presents.
pub(crate) const TOKEN: &str = "canary-proxy-token-7d1f3c";

/// What tools present to the usage API.
pub(crate) const ADMIN: &str = "canary-admin-token-52e9ab";

/// What the employees ask; callers put it into every question.
pub(crate) const PROMPT: &str = "canary prompt: the merger is signed on Friday";

/// What the models answer: a knob asks for it.
pub(crate) const ANSWER: &str = "canary answer: the price is nine million";

/// The mail address of the callers.
pub(crate) const EMAIL: &str = "canary.employee@example.org";

/// The secret of the signed header, where a row uses one.
pub(crate) const JWT_SECRET: &str = "canary-jwt-secret-90b4";

/// A key that is typed into Open `WebUI` and learned.
const TYPED_KEY: &str = "sk-or-v1-canary7777777777777777777777777777777777777777777777777777777777";

/// A key that nobody knows.
const WRONG_KEY: &str = "sk-or-v1-canary8888888888888888888888888888888888888888888888888888888888";

/// What is put where no secret belongs.
const MISPLACED: &str = "canary-misplaced-secret-77aa";

/// A secret that is too short to be one.
const SHORT: &str = "canary-sh0rt";

/// A secret with a blank.
const BLANK: &str = "canary with blanks 31f0";

/// A session of Open `WebUI`.
const SESSION: &str = "canary-session-of-an-admin-1b8e";

/// The name of an employee.
const NAME: &str = "Canary Nowak\u{f3}wna";

/// Everything that no log may show, whatever its level.
pub(crate) const CANARIES: [&str; 15] = [
    DEFAULT_KEY,
    DEFAULT_MANAGEMENT_KEY,
    TYPED_KEY,
    WRONG_KEY,
    TOKEN,
    ADMIN,
    MISPLACED,
    SHORT,
    BLANK,
    PROMPT,
    ANSWER,
    EMAIL,
    NAME,
    JWT_SECRET,
    SESSION,
];

/// The secrets that the logs in `folder` tell, with the line of each first telling.
pub(crate) fn told_in(folder: &Path) -> Vec<String> {
    let finder = finder(&CANARIES);
    let logs = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .flat_map(|log| told_by(&log, &finder))
        .collect()
}

fn told_by(log: &Path, finder: &AhoCorasick) -> Vec<String> {
    let bytes = std::fs::read(log).unwrap();
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .filter(|line| finder.is_match(line))
        .take(3)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect()
}

/// Finds `secrets` in all their spellings.
fn finder(secrets: &[&str]) -> AhoCorasick {
    AhoCorasick::new(secrets.iter().flat_map(|secret| spellings(secret))).unwrap()
}

/// A secret as it is, percent-encoded, in JSON, in Rust's `Debug`, in hex and in base64, wherever in a longer text it
/// stands.
fn spellings(secret: &str) -> BTreeSet<String> {
    let percent = |upper: bool, kept: &[u8]| {
        let code = |byte: u8| match byte {
            _ if byte.is_ascii_alphanumeric() || kept.contains(&byte) => char::from(byte).to_string(),
            _ if upper => format!("%{byte:02X}"),
            _ => format!("%{byte:02x}"),
        };
        secret.bytes().map(code).collect::<String>()
    };
    let ascii = |character: char| match character {
        ' '..='~' => character.to_string(),
        _ => format!("\\u{:04x}", u32::from(character)),
    };
    let quoted = |text: String| text[1..text.len() - 1].to_owned();
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut spellings = BTreeSet::from([
        secret.to_owned(),
        percent(true, b"-_.~"),
        percent(false, b"-_.~"),
        percent(true, b"-_.~@:"),
        percent(true, b"-_.~ ").replace(' ', "+"),
        quoted(json!(secret).to_string()),
        secret.chars().map(ascii).collect(),
        quoted(format!("{secret:?}")),
        hex,
    ]);
    for before in 0..3_usize {
        let bytes = [&vec![0; before], secret.as_bytes()].concat();
        // The characters that only the secret's own bytes decide.
        let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        spellings.insert(BASE64_STANDARD.encode(&bytes)[first..end].to_owned());
        spellings.insert(BASE64_URL_SAFE.encode(&bytes)[first..end].to_owned());
    }
    spellings
}

/// Panics where `told` shows any secret but the `allowed` ones.
fn assert_silent(place: &str, told: &[u8], allowed: &[&str]) {
    let secrets: Vec<&str> = CANARIES.into_iter().filter(|canary| !allowed.contains(canary)).collect();
    let told_secret = finder(&secrets).is_match(told);
    assert!(!told_secret, "{place} tells a secret: {}", String::from_utf8_lossy(told));
}

/// What is counted.
#[derive(Debug, Default)]
struct Counts {
    requests: usize,
    refusals: usize,
    settings: usize,
    cells: usize,
}

/// Row 18.
pub(crate) async fn in_logs_and_files(trial: Trial) -> Outcome {
    // A finder that finds nothing would prove nothing.
    assert!(CANARIES.iter().all(|canary| spellings(canary).len() >= 5));
    let encoded = BASE64_STANDARD.encode(format!("anna:{MISPLACED}"));
    assert!(finder(&CANARIES).is_match(&encoded));

    let mut counts = Counts::default();
    let options = Options { keys: vec![DEFAULT_KEY.to_owned(), TYPED_KEY.to_owned()], ..Options::default() };
    let simulator = Simulator::start(options).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open_webui = format!("http://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(sessions(listener));
    let setup = Setup::new(&trial, &simulator).with("OPENWEBUI_URL", open_webui);
    let rounds = trial.depth(120, 3_000);
    let mut dice = trial.dice();

    // With the operator's key, in text.
    let mut sidecar = setup.start().await;
    let command_line = std::fs::read(format!("/proc/{}/cmdline", sidecar.pid().as_raw_nonzero())).unwrap();
    assert_silent("the command line", &command_line, &[]);
    errors_of_the_upstream(&sidecar, &mut counts).await;
    misplaced(&sidecar, &mut dice, rounds, &mut counts).await;
    private_files(&setup, 0o600);
    wait_for_an_entry(&setup.database).await;
    sidecar.kill();
    counts.cells += silent_database(&setup.database, &[DEFAULT_KEY]).await;

    // Without it, so that keys are learned; with signed names, in JSON.
    let mut learning = setup
        .clone()
        .with("OPENROUTER_API_KEY", "")
        .with("OPENWEBUI_USER_JWT_SECRET", JWT_SECRET)
        .with("LOG_FORMAT", "json");
    learning.database = trial.path("learning.db");
    let mut sidecar = learning.start().await;
    typed_keys(&sidecar, &mut counts).await;
    misplaced(&sidecar, &mut dice, rounds, &mut counts).await;
    wait_for_an_entry(&learning.database).await;
    sidecar.kill();
    counts.cells += silent_database(&learning.database, &[TYPED_KEY]).await;

    refused_settings(&trial, &mut counts);
    refused_files(&trial, &setup);
    let log = std::fs::read_to_string(trial.path("sidecar.log")).unwrap();
    assert!(log.contains("refused: ") && log.contains("{\"timestamp\""), "the log is not what it was");
    assert!(log.contains("TRACE"), "the log is not whole");
    let Counts { requests, refusals, settings, cells } = counts;
    assert!(requests > rounds && refusals > rounds && cells > 500, "{counts:?}");
    Outcome::Counts(format!(
        "{requests} requests, {refusals} refusals, {settings} refused settings, {} bytes of log, {cells} cells of the \
         database, in {} spellings each: 0 secrets told",
        log.len(),
        spellings(TOKEN).len()
    ))
}

/// An empty database would tell nothing.
async fn wait_for_an_entry(database: &Path) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while calls_in(database, &["settled"]).await == 0 {
        assert!(Instant::now() < deadline, "nothing is booked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Sends a request; a refusal must not tell anything.
async fn ask(request: reqwest::RequestBuilder, counts: &mut Counts) -> u16 {
    let answer = request.send().await.unwrap();
    let (status, head) = (answer.status().as_u16(), format!("{:?}", answer.headers()));
    let body = answer.bytes().await.unwrap();
    counts.requests += 1;
    if status >= 400 {
        counts.refusals += 1;
        assert_silent("a refusal", &[head.as_bytes(), &body].concat(), &[]);
    }
    status
}

async fn errors_of_the_upstream(sidecar: &Sidecar, counts: &mut Counts) {
    let http = client();
    let errors =
        ["400-model", "402-credits", "403-key-limit", "429-upstream", "html-404", "error-in-200", "502"];
    for error in errors {
        for stream in [false, true] {
            let body = chat(stream, &json!({ "error": error }));
            ask(question(&http, sidecar.proxy, "anna", &body), counts).await;
        }
    }
    for knobs in [
        json!({ "cut_after_bytes": 0, "generation_header": false }),
        json!({ "cut_after_bytes": 90 }),
        json!({ "midstream_error_after": 1 }),
        json!({ "cost": "\"canary-misplaced-secret-77aa\"" }),
    ] {
        let request = question(&http, sidecar.proxy, "anna", &chat(false, &knobs)).send().await;
        if let Ok(answer) = request {
            // It may break off.
            let _ = answer.bytes().await;
        }
        counts.requests += 1;
    }
}

/// Keys, tokens, names and prompts where they do not belong, and prompts in what is no JSON and no form.
async fn misplaced(sidecar: &Sidecar, dice: &mut Dice, rounds: usize, counts: &mut Counts) {
    for _ in 0..rounds {
        let request = match dice.roll(5) {
            0 => wrong_place(sidecar, dice),
            1 => broken_json(sidecar, dice),
            2 => broken_form(sidecar, dice),
            3 => usage(sidecar, dice),
            _ => list(sidecar, dice),
        };
        let request = with_secrets_in_headers(request, dice);
        ask(request, counts).await;
    }
}

fn wrong_place(sidecar: &Sidecar, dice: &mut Dice) -> reqwest::RequestBuilder {
    let secret = *dice.pick(&[MISPLACED, WRONG_KEY, DEFAULT_MANAGEMENT_KEY, ADMIN, EMAIL]);
    let path = *dice.pick(&["/v1/chat/completions", "/v1/keys", "/api/v1/credits", "/v1/generation", "/"]);
    let url = match dice.roll(3) {
        0 => format!("http://{}{path}?api_key={secret}", sidecar.proxy),
        1 => format!("http://{}{path}/{secret}", sidecar.proxy),
        _ => format!("http://{}{path}", sidecar.proxy),
    };
    let request = client().post(url).header("x-openwebui-user-id", "anna");
    let request = match dice.roll(5) {
        0 => request.bearer_auth(secret),
        1 => request.basic_auth("anna", Some(secret)),
        2 => request.header("x-api-key", secret),
        3 => request.header("authorization", secret),
        _ => request.header("cookie", format!("token={secret}")),
    };
    request.json(&chat(false, &json!({})))
}

fn broken_json(sidecar: &Sidecar, dice: &mut Dice) -> reqwest::RequestBuilder {
    let mut text = chat(true, &json!({})).to_string();
    let at = usize::try_from(dice.roll(u64::try_from(text.len()).unwrap())).unwrap();
    match dice.roll(4) {
        0 => text.truncate(at),
        1 => text.insert_str(at, dice.pick::<&str>(&["\"", "\u{0}", "}", "[", ",", "\\"])),
        2 => text = format!("[{text}]"),
        _ => text = format!("{}{text}{}", "{\"a\":".repeat(70), "}".repeat(70)),
    }
    let request = client().post(format!("http://{}/v1/chat/completions", sidecar.proxy)).bearer_auth(TOKEN);
    request.header("content-type", "application/json").body(text)
}

fn broken_form(sidecar: &Sidecar, dice: &mut Dice) -> reqwest::RequestBuilder {
    let disposition = *dice.pick(&[
        "form-data; name=\"user\"",
        "form-data; name=user",
        "form-data; name*=utf-8''user",
        "form-data",
        "",
        "form-data; name=\"file\"; filename=\"canary.employee@example.org\"",
    ]);
    let form = format!("--b\r\nContent-Disposition: {disposition}\r\n\r\n{PROMPT}\r\n--b--\r\n");
    let kind = *dice.pick(&[
        "multipart/form-data",
        "multipart/form-data; boundary=b",
        "multipart/form-data; boundary=c",
    ]);
    let request =
        client().post(format!("http://{}/v1/audio/transcriptions", sidecar.proxy)).bearer_auth(TOKEN);
    request.header("content-type", kind).body(form)
}

fn usage(sidecar: &Sidecar, dice: &mut Dice) -> reqwest::RequestBuilder {
    let paths = [
        "/metrics",
        "/health",
        "/api/v1/usage-tracking/my-organization/usage-by-user",
        "/api/v1/usage/by-user",
        "/api/v1/usage/me/calls",
        "/api/v1/usage/nothing",
        "/usage/",
    ];
    let path = *dice.pick(&paths);
    let secret = *dice.pick(&[MISPLACED, TOKEN, WRONG_KEY, SESSION]);
    let request = client().get(format!("http://{}{path}?token={secret}", sidecar.usage));
    if dice.roll(2) == 0 {
        request.bearer_auth(secret)
    } else {
        request.header("cookie", format!("token={secret}"))
    }
}

/// An Open `WebUI` that knows one session, and is down for one in eight who ask.
async fn sessions(listener: TcpListener) {
    let account = json!({ "id": "anna", "name": NAME, "email": EMAIL, "role": "admin" }).to_string();
    for number in 0_u64.. {
        let (mut connection, _) = listener.accept().await.unwrap();
        if number % 8 == 7 {
            continue;
        }
        let mut asked = Vec::new();
        while memchr::memmem::find(&asked, b"\r\n\r\n").is_none() {
            if connection.read_buf(&mut asked).await.unwrap_or(0) == 0 {
                break;
            }
        }
        let is_known = memchr::memmem::find(&asked, SESSION.as_bytes()).is_some();
        let (status, body) = if is_known { ("200 OK", account.as_str()) } else { ("401 Unauthorized", "{}") };
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
        let answer = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
        // Who does not wait for it does not want it.
        let _ = connection.write_all(answer.as_bytes()).await;
    }
}

/// A list with a secret in its query: fresh, stale, and refused.
fn list(sidecar: &Sidecar, dice: &mut Dice) -> reqwest::RequestBuilder {
    let secret = *dice.pick(&[MISPLACED, WRONG_KEY]);
    client().get(format!("http://{}/v1/models?api_key={secret}", sidecar.proxy)).bearer_auth(TOKEN)
}

fn with_secrets_in_headers(request: reqwest::RequestBuilder, dice: &mut Dice) -> reqwest::RequestBuilder {
    let request = request
        .header("x-openwebui-user-name", "Canary%20Nowak%C3%B3wna")
        .header("x-openwebui-user-email", EMAIL);
    match dice.roll(6) {
        0 => request.header("x-openwebui-user-email", EMAIL),
        1 => request.header("x-openwebui-user-name", "%FF canary with blanks 31f0"),
        2 => request.header("x-openwebui-user-jwt", MISPLACED),
        3 => request.header("x-openwebui-user-jwt", format!("{}.{}.x", encoded(JWT_SECRET), encoded(EMAIL))),
        4 => request.header("x-session-id", MISPLACED),
        _ => request,
    }
}

fn encoded(text: &str) -> String {
    BASE64_URL_SAFE.encode(text).trim_end_matches('=').to_owned()
}

async fn typed_keys(sidecar: &Sidecar, counts: &mut Counts) {
    let body = chat(false, &json!({}));
    let url = format!("http://{}/v1/chat/completions", sidecar.proxy);
    for (key, wanted) in [
        (TOKEN, 503),
        (WRONG_KEY, 401),
        (WRONG_KEY, 401),
        (DEFAULT_MANAGEMENT_KEY, 401),
        (MISPLACED, 401),
        (TYPED_KEY, 200),
        (TOKEN, 200),
    ] {
        let status = ask(client().post(&url).bearer_auth(key).json(&body), counts).await;
        assert_eq!(status, wanted);
    }
}

/// Looks into every cell of a database; answers how many. Only the key and who people are have a place there.
async fn silent_database(database: &Path, keys: &[&str]) -> usize {
    let mut connection = connect(database).await;
    let tables: Vec<String> = sqlx::query_scalar("SELECT name FROM sqlite_schema WHERE type = 'table'")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    let mut cells = 0;
    for table in tables {
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?)")
            .bind(&table)
            .fetch_all(&mut connection)
            .await
            .unwrap();
        for column in columns {
            let place = format!("{table}.{column}");
            let allowed = match place.as_str() {
                "client_organizations.openrouter_api_key" => keys,
                "users.email" => &[EMAIL],
                "users.name" => &[NAME],
                _ => &[],
            };
            let question = format!("SELECT CAST(\"{column}\" AS BLOB) FROM \"{table}\"");
            let found: Vec<Option<Vec<u8>>> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(question)).fetch_all(&mut connection).await.unwrap();
            cells += found.len();
            let together = found.into_iter().flatten().collect::<Vec<_>>().join(&b'\n');
            assert_silent(&place, &together, allowed);
        }
    }
    cells
}

/// Runs the daemon with `settings` to its own end; what it says is kept among the logs.
fn run(trial: &Trial, settings: &[(&str, &str)]) -> Output {
    let output =
        Command::new(PROGRAM).arg("daemon").env_clear().envs(settings.iter().copied()).output().unwrap();
    let kept = [output.stdout.as_slice(), &output.stderr].concat();
    let earlier = std::fs::read(trial.path("settings.log")).unwrap_or_default();
    std::fs::write(trial.path("settings.log"), [earlier, kept].concat()).unwrap();
    output
}

/// A secret that cannot be used is named and not shown.
fn refused_settings(trial: &Trial, counts: &mut Counts) {
    for (name, value) in [
        ("USAGE_PROXY_TOKEN", SHORT),
        ("USAGE_ADMIN_TOKEN", SHORT),
        ("USAGE_PROXY_TOKEN", BLANK),
        ("USAGE_ADMIN_TOKEN", NAME),
        ("OPENROUTER_API_KEY", BLANK),
        ("OPENROUTER_API_KEY", NAME),
        ("OPENWEBUI_USER_JWT_SECRET", BLANK),
    ] {
        let secrets =
            [("OPENROUTER_API_KEY", DEFAULT_KEY), ("USAGE_PROXY_TOKEN", TOKEN), ("USAGE_ADMIN_TOKEN", ADMIN)];
        let settings =
            [secrets.as_slice(), &[("POLL_INTERVAL", "never"), ("LOG_LEVEL", "trace"), (name, value)]]
                .concat();
        let output = run(trial, &settings);
        let told = [output.stdout.as_slice(), &output.stderr].concat();
        assert_eq!(output.status.code(), Some(78), "{name}");
        assert_silent(name, &told, &[]);
        let told = String::from_utf8(told).unwrap();
        assert!(told.contains(name) && told.contains("POLL_INTERVAL") && told.contains("never"), "{told}");
        counts.settings += 1;
    }
}

/// The files of a running sidecar are its own.
fn private_files(setup: &Setup, wanted: u32) {
    for suffix in ["", ".lock", "-wal", "-shm"] {
        let file = format!("{}{suffix}", setup.database.display());
        let mode = std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, wanted, "{file}");
    }
}

/// What others can read is refused with the remedy, under whatever name.
fn refused_files(trial: &Trial, setup: &Setup) {
    let database = setup.database.to_str().unwrap();
    let link = trial.path("link.db");
    std::os::unix::fs::symlink(&setup.database, &link).unwrap();
    let link = link.to_str().unwrap();
    let mode = |file: &str, mode| std::fs::set_permissions(file, PermissionsExt::from_mode(mode)).unwrap();
    let refused = |path: &str, words: &str| {
        let output = run(
            trial,
            &[("DATABASE_PATH", path), ("PROXY_LISTEN", "127.0.0.1:0"), ("USAGE_LISTEN", "127.0.0.1:0")],
        );
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{told}");
        assert!(told.contains(words), "{told}");
    };
    for (file, open) in [("", 0o644), ("", 0o640), ("", 0o602), ("-wal", 0o644)] {
        let file = format!("{database}{file}");
        mode(&file, open);
        for path in [database, link] {
            refused(
                path,
                &format!("chmod 600 {}", if path == link && !file.ends_with("-wal") { link } else { &file }),
            );
        }
        mode(&file, 0o600);
    }
    refused("/nonexistent/usage.db", "/nonexistent/usage.db");
}
