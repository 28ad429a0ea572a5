//! `mai-usage verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use ledger::LedgerReader;
use settings::Settings;

#[expect(clippy::print_stdout, reason = "the findings are this command's data")]
pub(crate) async fn run(database: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let path = match database {
        Some(path) => path,
        None => Settings::from_environment()?.database_path,
    };
    let verification = LedgerReader::open(&path).await?.verify().await?;
    for finding in &verification.findings {
        println!("{finding}");
    }
    let (entries, rows) = (verification.entries, verification.daily_rows);
    let (cost, charge) = (verification.cost, verification.charge);
    println!("{entries} entries, {rows} daily rows, cost {cost} USD, charge {charge} USD");
    if verification.findings.is_empty() {
        println!("ok");
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("hint: keep this file, restore the last good backup beside it, and compare");
    Ok(ExitCode::FAILURE)
}
