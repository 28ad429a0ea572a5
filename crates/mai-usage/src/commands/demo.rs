//! `mai-usage demo`: a simulated `OpenRouter`, the sidecar before it, and a morning's chats of a made-up company.
//! Every row it shows comes from a call through the proxy; none is inserted.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use daemon::{Daemon, Ended, start_logging};
use jiff::civil::Date;
use ledger::{LedgerReader, Scope, UsageBy};
use metering::{Clock, OrgId, PicoUsd};
use openrouter_sim::{DEFAULT_KEY, Options, Simulator};
use serde_json::{Value, json};
use settings::{LogFormat, Settings};
use tokio::signal::ctrl_c;
use tokio::sync::oneshot;

const ORGANISATION: &str = "ABC Company Sp. z o.o.";

/// Who works there: the id and the name that Open `WebUI` would send, percent-encoded as it does.
const STAFF: [(&str, &str); 4] = [
    ("8b216b38-ee09-4853-8742-6e136d2295b6", "Anna %C5%BB%C3%B3%C5%82%C4%87"),
    ("f0a1cf1e-93f0-4b3c-9c39-0f2f6a1b7c11", "Bartosz Nowak"),
    ("2d2a5c55-7a0e-4a37-8a5a-5f0f0c9a3e22", "Celina Wi%C5%9Bniewska"),
    ("c47c1a0b-6c1d-4f7e-b6f5-9f1d2f0f5d33", "%E6%9D%8E %E9%9B%B7"),
];

const MODELS: [&str; 5] = [
    "openai/gpt-5-mini",
    "anthropic/claude-sonnet-4.5",
    "google/gemini-2.5-flash",
    "deepseek/deepseek-chat-v3.1",
    "meta-llama/llama-3.3-70b-instruct:free",
];

const QUESTIONS: [&str; 6] = [
    "Summarise yesterday's meeting in three sentences.",
    "Translate this invoice into English, please: 12 sztuk, termin 14 dni.",
    "Why does my spreadsheet show a circular reference?",
    "Write a friendly reminder for an unpaid invoice.",
    "Which of these two offers is cheaper over two years?",
    "Draft an answer to a customer who waits for his parcel.",
];

/// Chats of the morning.
const CHATS: usize = 48;

/// Longest wait until everything is settled.
const PATIENCE: Duration = Duration::from_mins(1);

/// The running demonstration.
struct Demo {
    simulator: Simulator,
    http: reqwest::Client,
    proxy_url: String,
    usage_url: String,
    proxy_token: String,
    admin_token: String,
}

#[expect(clippy::print_stdout, reason = "what it shows is this command's data")]
pub(crate) async fn run(clock: Clock, once: bool) -> anyhow::Result<ExitCode> {
    let folder = tempfile::tempdir().context("no temporary folder can be made")?;
    let database = folder.path().join("demo.db");
    let simulator =
        Simulator::start(Options::default()).await.context("the simulated OpenRouter cannot start")?;
    let (proxy_token, admin_token) = (token("proxy"), token("admin"));
    let settings = Settings::from_variables([
        ("OPENROUTER_HOST", simulator.base_url().as_str()),
        ("OPENROUTER_API_KEY", DEFAULT_KEY),
        ("ORGANIZATION_NAME", ORGANISATION),
        ("USAGE_PROXY_TOKEN", &proxy_token),
        ("USAGE_ADMIN_TOKEN", &admin_token),
        ("DATABASE_PATH", &database.to_string_lossy()),
        ("PROXY_LISTEN", "127.0.0.1:0"),
        ("USAGE_LISTEN", "127.0.0.1:0"),
    ])?;
    start_logging("warn", LogFormat::Text)?;
    let daemon = Daemon::start(settings, clock).await?;
    let demo = Demo {
        http: reqwest::Client::builder().no_proxy().build()?,
        proxy_url: format!("http://{}/api/v1", daemon.proxy_address()),
        usage_url: format!("http://{}", daemon.usage_address()),
        simulator,
        proxy_token,
        admin_token,
    };
    let (stop, told_to_stop) = oneshot::channel::<()>();
    let serve = daemon.run_until(async {
        let _ = told_to_stop.await;
    });
    let show = async {
        let shown = demo.show(&database).await;
        if shown.is_ok() && !once {
            println!("\nIt stays up; Ctrl-C ends it.");
            let _ = ctrl_c().await;
        }
        let _ = stop.send(());
        shown
    };
    let (ended, shown) = tokio::join!(serve, show);
    shown?;
    Ok(if ended == Ended::Stopped { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A token nobody can guess, for this run only.
fn token(purpose: &str) -> String {
    format!("demo-{purpose}-{}", uuid::Uuid::new_v4().simple())
}

impl Demo {
    #[expect(clippy::print_stdout, reason = "what it shows is this command's data")]
    async fn show(&self, database: &Path) -> anyhow::Result<()> {
        println!("A morning at {ORGANISATION}: {CHATS} chats through the sidecar…\n");
        for number in 0..CHATS {
            self.chat(number).await.with_context(|| format!("chat {number}"))?;
        }
        let reader = LedgerReader::open(database).await?;
        let settled = tokio::time::timeout(PATIENCE, all_settled(&reader)).await;
        settled.context("not everything was settled in time")??;
        self.print_rows(&reader).await?;
        self.print_proof(&reader).await?;
        self.print_addresses();
        Ok(())
    }

    /// One chat. Most are streamed, some plain; in one the employee closes the tab, in one the answer tells no cost.
    async fn chat(&self, number: usize) -> anyhow::Result<()> {
        let pick = |list: &[&'static str]| list.iter().cycle().nth(number).copied();
        let (user_id, name) = STAFF.iter().cycle().nth(number * 3 / 2).copied().unwrap_or_default();
        let leaves = number == CHATS / 2;
        let knobs = match number {
            _ if leaves => json!({ "chunks": 400, "chunk_delay_ms": 20 }),
            _ if number == CHATS / 3 => json!({ "cost": "missing" }),
            _ => json!({ "chunks": 4 + number % 7 }),
        };
        let body = json!({
            "model": pick(&MODELS), "stream": leaves || number % 4 != 3, "sim": knobs,
            "messages": [{ "role": "user", "content": pick(&QUESTIONS) }],
        });
        let request =
            self.http.post(format!("{}/chat/completions", self.proxy_url)).bearer_auth(&self.proxy_token);
        let request = request.header("X-OpenWebUI-User-Id", user_id).header("X-OpenWebUI-User-Name", name);
        let mut answer = request.json(&body).send().await?.error_for_status()?;
        if leaves {
            answer.chunk().await?;
            return Ok(());
        }
        while answer.chunk().await?.is_some() {}
        Ok(())
    }

    #[expect(clippy::print_stdout, reason = "what it shows is this command's data")]
    async fn print_rows(&self, reader: &LedgerReader) -> anyhow::Result<()> {
        let org_id = OrgId::of_name(ORGANISATION);
        let scope = Scope { org_id, user_id: None, from: Date::MIN, to: Date::MAX };
        let names: HashMap<String, String> =
            reader.users().await?.into_iter().filter_map(|user| Some((user.user_id, user.name?))).collect();
        println!("{:<24} {:>8} {:>10} {:>16}", "user", "calls", "tokens", "charge (USD)");
        for usage in reader.usage(&scope, UsageBy::User).await? {
            let user_id = usage.user_id.unwrap_or_default();
            let name = names.get(&user_id).unwrap_or(&user_id);
            let (tokens, charge) = (usage.prompt_tokens + usage.completion_tokens, usage.charge_pico_usd);
            let charge = PicoUsd::new(charge).to_string();
            println!("{name:<24} {:>8} {tokens:>10} {charge:>16}", usage.requests);
        }
        println!("\n{:<42} {:>8} {:>16}", "model", "calls", "charge (USD)");
        for usage in reader.usage(&scope, UsageBy::Model).await? {
            let charge = PicoUsd::new(usage.charge_pico_usd).to_string();
            println!("{:<42} {:>8} {charge:>16}", usage.model.unwrap_or_default(), usage.requests);
        }
        Ok(())
    }

    /// The books beside the simulator's own bill.
    #[expect(clippy::print_stdout, reason = "what it shows is this command's data")]
    async fn print_proof(&self, reader: &LedgerReader) -> anyhow::Result<()> {
        let verification = reader.verify().await?;
        let bill = self
            .simulator
            .truth()
            .iter()
            .try_fold(PicoUsd::ZERO, |sum, charge| sum.checked_add(PicoUsd::new(charge.cost_pico_usd)))?;
        println!("\nOpenRouter's bill  {bill} USD");
        println!("our ledger's cost  {} USD", verification.cost);
        println!("what the company pays (x 1.3)  {} USD", verification.charge);
        ensure!(verification.findings.is_empty() && verification.cost == bill, "the books are not the bill");
        println!("To the pico-dollar the same, one closed tab and one answer without a cost included.");
        Ok(())
    }

    #[expect(clippy::print_stdout, reason = "what it shows is this command's data")]
    fn print_addresses(&self) {
        let Self { proxy_url, usage_url, proxy_token, admin_token, .. } = self;
        let question: Value =
            json!({ "model": MODELS[0], "messages": [{ "role": "user", "content": "Hi" }] });
        println!("\nChat through it (Open WebUI: Settings -> Connections, this address and token):");
        println!("  curl {proxy_url}/chat/completions -H 'Authorization: Bearer {proxy_token}' \\");
        println!("    -H 'Content-Type: application/json' -H 'X-OpenWebUI-User-Id: me' -d '{question}'");
        println!("\nSee what it cost, in a browser (under \"For the operator\", the token {admin_token}):");
        println!("  {usage_url}/usage/");
        println!("or");
        println!("  curl {usage_url}/api/v1/usage-tracking/my-organization/usage-by-user \\");
        println!("    -H 'Authorization: Bearer {admin_token}'");
        println!("  curl {usage_url}/health");
    }
}

async fn all_settled(reader: &LedgerReader) -> anyhow::Result<()> {
    loop {
        let unsettled = reader.unsettled(None).await?;
        if unsettled.intent + unsettled.open == 0 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
