//! The sessions in the documents are what the program says.

use std::path::PathBuf;

use crate::operator::{Ground, set_mode};
use crate::server::{Call, Server};
use crate::watching::Running;

const SONNET: &str = "anthropic/claude-sonnet-4.5";
const MINI: &str = "openai/gpt-5-mini";

/// The server of the documents: two companies in November.
async fn server() -> Server {
    let server = Server::new();
    let call = |user, model, cost, at| Call { user, model, cost, at };
    let first = [
        call("anna", SONNET, Some("12.5"), "2026-11-03T09:00:00Z"),
        call("anna", MINI, Some("0.00154"), "2026-11-03T09:01:00Z"),
        call("bob", MINI, Some("0.000001"), "2026-11-15T12:00:00Z"),
        call("bob", SONNET, None, "2026-11-16T12:00:00Z"),
        // Not in November.
        call("bob", SONNET, Some("7"), "2026-10-31T22:59:59Z"),
    ];
    server.client("company-a", "Company_A", &first).await;
    let second = [call("celina", MINI, Some("3.25"), "2026-11-20T12:00:00Z")];
    server.client("company-b", "Company B", &second).await;
    server
}

/// The commands that read a whole server read that one, as if it were in `/srv/mai`.
#[tokio::test]
async fn the_documents_tell_what_happens() {
    let server = server().await;
    let program = env!("CARGO_BIN_EXE_mai-usage");
    let directory = server.path().display();
    let wrapper = server.path().join("mai-usage");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in\n\
         report*--all*) exec '{program}' \"$@\" --clients '{directory}' ;;\n\
         *) exec '{program}' \"$@\" ;;\nesac\n"
    );
    std::fs::write(&wrapper, text).unwrap();
    set_mode(&wrapper, 0o700);
    show(wrapper, "../../docs/operations.md").await;
}

/// Commands that ask OpenRouter ask the simulated one, with its management key, in a folder of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_in_one_sitting() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ground = Ground::new().await;
    let running = Running::start(&ground).await;
    running.chats(&ground, &["anna", "bob", "anna"]).await;
    let (program, folder) = (env!("CARGO_BIN_EXE_mai-usage"), ground.path(""));
    let (management, host) = (ground.path("management"), ground.sim.base_url());
    std::fs::create_dir(folder.join("company-c")).unwrap();
    std::fs::create_dir(folder.join("srv")).unwrap();
    let wrapper = ground.path("mai-usage");
    let text = format!(
        "#!/bin/sh\ncd '{}'\ncase \"$1 $2\" in\n\
         setup*|keys*|reconcile*|\"client add\") exec '{program}' \"$@\" --management-key-file '{}' --openrouter-host '{host}' ;;\n\
         *) exec '{program}' \"$@\" ;;\nesac\n",
        folder.display(),
        management.display(),
    );
    std::fs::write(&wrapper, text).unwrap();
    set_mode(&wrapper, 0o700);
    show(wrapper, "../../docs/sessions.md").await;
    running.stop().await;
}

async fn show(wrapper: PathBuf, document: &'static str) {
    let shown = tokio::task::spawn_blocking(move || {
        let cases = trycmd::TestCases::new();
        cases.register_bin("mai-usage", wrapper).case(document);
        cases.run();
    });
    shown.await.unwrap();
}
