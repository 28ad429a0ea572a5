//! The benchmark still works, and what it measures is right: every table has its rows, no call fails, the books equal the bill.

#![expect(clippy::unwrap_used, reason = "a test whose ground cannot be laid should panic")]
#![expect(clippy::indexing_slicing, reason = "a figure that is not there fails the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The program beside this test's own; the tests of `mai-usage` build it.
fn sidecar() -> PathBuf {
    let sidecar = Path::new(env!("CARGO_BIN_EXE_bench")).with_file_name("mai-usage");
    assert!(sidecar.exists(), "hint: cargo build --package mai-usage");
    sidecar
}

#[test]
fn a_short_run_has_every_figure_no_error_and_books_that_equal_the_bill() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("run.json");
    let run = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--depth", "smoke", "--alone"])
        .arg("--sidecar")
        .arg(sidecar())
        .arg("--folder")
        .arg(folder.path())
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let tables = String::from_utf8(run.stdout).unwrap();
    for row in ["| direct | 20 |", "| mai-usage | 10 |", "| mai-usage | whole streams |", "No call failed."] {
        assert!(tables.contains(row), "{row} is not in {tables}");
    }

    let figures: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let names: Vec<_> = figures["targets"].as_array().unwrap().iter().map(|target| &target["name"]).collect();
    assert_eq!(names, ["direct", "mai-usage"]);
    for target in figures["targets"].as_array().unwrap() {
        check(target);
    }
}

fn check(target: &Value) {
    let name = target["name"].as_str().unwrap();
    assert!(target["saturation"]["calls"].as_u64().unwrap() > 0, "{name}");
    for rate in target["rates"].as_array().unwrap() {
        assert_eq!(rate["latency"]["samples"], 10, "{name}");
        assert_eq!(rate["errors"]["count"], 0, "{name}");
    }
    for streams in target["streams"].as_array().unwrap() {
        assert_eq!(streams["first_chunk"]["samples"], 10, "{name}");
        assert_eq!(streams["chunk_delay"]["samples"], 500, "{name}");
        assert_eq!(streams["without_usage"], 0, "{name}");
    }
    let books = target["books"].as_array().unwrap();
    if name == "direct" {
        assert!(target["memory"].is_null());
        return;
    }
    // Six kinds of calls, and the whole run.
    assert_eq!(books.len(), 7, "{name}");
    for judgement in books {
        assert_eq!(judgement["billed"], judgement["booked"], "{name}: {judgement}");
        assert!(judgement["billed"]["calls"].as_u64().unwrap() >= 3, "{name}: {judgement}");
        assert!(judgement["wrong_calls"].as_u64().unwrap_or(0) == 0, "{name}: {judgement}");
    }
    assert!(target["memory"]["idle_kib"].as_u64().unwrap() > 0, "{name}");
}
