//! What a panic may say. The test starts itself a second time, because logging is set up once a process.

use std::process::Command;

const CHILD: &str = "MAI_USAGE_TEST_PANICS";

#[test]
fn a_panic_tells_its_place_and_not_its_message() {
    if std::env::var_os(CHILD).is_some() {
        daemon::start_logging("trace", settings::LogFormat::Text).unwrap();
        panic!("the prompt was: canary");
    }
    let own = std::env::current_exe().unwrap();
    let mut child = Command::new(own);
    child.args(["a_panic_tells", "--nocapture"]).env(CHILD, "1").env("RUST_BACKTRACE", "1");
    let output = child.output().unwrap();
    assert!(!output.status.success());
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(told.contains("crates/daemon/tests/panics.rs:"), "{told}");
    assert!(!told.contains("canary"), "{told}");
}
