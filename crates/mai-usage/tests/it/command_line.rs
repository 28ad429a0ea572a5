//! Exit codes and last words.

use std::process::{Command, Output};

fn mai_usage(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mai-usage"));
    command.args(arguments).env_clear().envs(environment.iter().copied()).output().unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, words: &[&str]) {
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

#[test]
fn all_errors_of_a_configuration_are_told_at_once() {
    let output = mai_usage(
        &["daemon"],
        &[("POLL_INTERVAL", "soon"), ("PROXY_LISTEN", "here"), ("USAGE_PROXY_TOKEN", "short-secret")],
    );
    check(&output, 78, &["POLL_INTERVAL", "PROXY_LISTEN", "USAGE_PROXY_TOKEN"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("short-secret"));
    check(&mai_usage(&["daemon"], &[("LOG_LEVEL", "=x=")]), 78, &["LOG_LEVEL"]);
}

#[test]
fn a_database_that_cannot_be_used_is_named() {
    let path = [("DATABASE_PATH", "/nonexistent/usage.db")];
    check(&mai_usage(&["daemon"], &path), 78, &["/nonexistent/usage.db"]);
    check(&mai_usage(&["verify"], &path), 78, &["/nonexistent/usage.db"]);
}

#[test]
fn usage_errors_exit_with_2() {
    check(&mai_usage(&[], &[]), 2, &["Usage", "daemon", "demo"]);
    check(&mai_usage(&["demon"], &[]), 2, &["demo"]);
}

#[test]
fn the_demonstration_ends_with_books_that_are_the_bill() {
    let output = mai_usage(&["demo", "--once"], &[]);
    check(
        &output,
        0,
        &["Anna Żółć", "anthropic/claude-sonnet-4.5", "To the pico-dollar the same", "curl http://"],
    );
}
