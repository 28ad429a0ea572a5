//! What was measured, where and how; and its place in `docs/benchmarks.md`.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use jiff::civil::Date;
use jiff::{Timestamp, tz::TimeZone};

use crate::figures::Times;
use crate::tables::ms;

/// The document with the figures, below the folder where a run is started.
const DOCUMENT: &str = "docs/benchmarks.md";

/// Where others have so many percent of the cores before a run, its times are noise.
const BUSY: u64 = 10;

/// What a commit of one call writes, about; and as many flushes, so far apart, tell how long one takes.
const COMMIT: &[u8] = &[1; 32 * 1_024];
const FLUSHES: u32 = 200;
const BETWEEN_FLUSHES: Duration = Duration::from_millis(10);

/// The UTC day.
#[expect(clippy::disallowed_methods, reason = "a run has no other clock than the machine's")]
pub(crate) fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

/// A sentence about the day and the machine. `folder` is where the ledger is.
pub(crate) fn machine(folder: &Path) -> anyhow::Result<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let kernel = read("/proc/sys/kernel/osrelease");
    let (busy_before, ticks_before) = busy_ticks()?;
    let flush_us = flush_us(folder)?;
    let (busy, ticks) = busy_ticks()?;
    let busy_percent = 100 * (busy - busy_before) / (ticks - ticks_before).max(1);
    Ok(format!(
        "{}, {cores} cores of {}, Linux {}, the ledger on {}, where a flush takes {} ms; {} (others had {busy_percent} % of the cores just before).",
        today(),
        model.map_or("a processor without a name", |(_, model)| model),
        kernel.trim(),
        file_system_of(folder),
        ms(flush_us),
        if busy_percent >= BUSY { "**a busy machine**" } else { "a quiet machine" },
    ))
}

/// How long the disk takes to make a small commit durable, in the middle: the same bytes of a file over and over, as in a write-ahead log
/// that has been copied once.
fn flush_us(folder: &Path) -> anyhow::Result<u64> {
    let file = tempfile::tempfile_in(folder)?;
    let mut times = Times::default();
    for _ in 0..FLUSHES {
        sleep(BETWEEN_FLUSHES);
        file.write_all_at(COMMIT, 0)?;
        let began = Instant::now();
        file.sync_data()?;
        times.add(began.elapsed());
    }
    Ok(times.percentiles().p50_us)
}

/// How many ticks of all cores went to work or were stolen since the system started, and how many there were (`proc_stat(5)`).
fn busy_ticks() -> anyhow::Result<(u64, u64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let all = stat.lines().next().unwrap_or_default().split_ascii_whitespace();
    let ticks: Vec<u64> = all.skip(1).filter_map(|ticks| ticks.parse().ok()).collect();
    let [user, nice, system, idle, waiting, interrupts, soft_interrupts, stolen, ..] = ticks[..] else {
        bail!("/proc/stat does not tell how busy the cores are");
    };
    let busy = user + nice + system + interrupts + soft_interrupts + stolen;
    Ok((busy, busy + idle + waiting))
}

fn file_system_of(folder: &Path) -> String {
    let told = Command::new("stat").args(["--file-system", "--format", "%T"]).arg(folder).output();
    let told = told.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned());
    told.unwrap_or_default().replace("ext2/ext3", "ext4")
}

/// Puts `text` between the marks of `section` in the document, in the place of what stands there.
pub(crate) fn write(section: &str, text: &str) -> anyhow::Result<()> {
    let document = fs::read_to_string(DOCUMENT).with_context(|| format!("cannot read {DOCUMENT}"))?;
    Ok(fs::write(DOCUMENT, with_section(&document, section, text)?)?)
}

fn with_section(document: &str, section: &str, text: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- begin {section} -->\n"), format!("<!-- end {section} -->"));
    let marks = document.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    ensure!(marks.is_some(), "{DOCUMENT} has no marks of {section}");
    let (before, after) = marks.unwrap_or_default();
    Ok(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::with_section;

    #[test]
    fn a_section_takes_the_place_of_the_last_run() {
        let document = "# A\n<!-- begin road -->\nold\n<!-- end road -->\n# B\n";
        let written = with_section(document, "road", "\nnew\n").unwrap();
        assert_eq!(written, "# A\n<!-- begin road -->\n\nnew\n\n<!-- end road -->\n# B\n");
        assert_eq!(with_section(&written, "road", "new").unwrap(), written);
        assert!(with_section(document, "growth", "new").is_err());
    }
}
