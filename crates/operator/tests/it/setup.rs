//! `mai-usage setup`.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;

use clap::Parser;
use futures_util::FutureExt as _;
use ledger::{Ledger, LedgerOptions, Organisation, OrganisationFacts};
use metering::Clock;
use openrouter::{KeyAnswer, LimitReset, NewKey};
use openrouter_sim::{DEFAULT_KEY, DEFAULT_MANAGEMENT_KEY, Knobs};
use operator::{Failure, OperatorError, SetupArgs, SetupError};
use settings::Settings;
use tokio_util::task::TaskTracker;

use crate::person::Person;
use crate::{Said, World, clock, dotenv};

const NAME: &str = "Zakład \"Żółw\" #1 & $ynowie";

const ALL: [&str; 7] =
    ["--organization", NAME, "--limit", "250.00", "--production", "--billing-email", "a@b.example"];

#[derive(Parser)]
struct SetupLine {
    #[command(flatten)]
    arguments: SetupArgs,
}

impl World {
    async fn setup(&self, arguments: &[&str]) -> Result<Said, OperatorError> {
        self.setup_of(Person::absent(), arguments).await
    }

    async fn setup_of(&self, person: Person, arguments: &[&str]) -> Result<Said, OperatorError> {
        let (folder, management) = (self.path("client"), self.path("management"));
        std::fs::create_dir_all(&folder).unwrap();
        let (folder, management) = (folder.display().to_string(), management.display().to_string());
        let host = self.sim.base_url();
        let always = ["--folder", &folder, "--management-key-file", &management, "--openrouter-host", &host];
        let line = ["setup"].into_iter().chain(arguments.iter().copied()).chain(always);
        let arguments = SetupLine::try_parse_from(line).unwrap().arguments;
        let (mut console, printed) = person.console();
        let now = jiff::Timestamp::from_millisecond(self.sim.now_ms()).unwrap();
        let clock = Clock::new(move || now);
        // Whoever pulls the plug panics.
        let done = AssertUnwindSafe(operator::setup(arguments, &mut console, &clock)).catch_unwind().await;
        done.unwrap_or(Err(OperatorError::Cancelled))?;
        Ok(printed.said())
    }

    fn env(&self) -> String {
        std::fs::read_to_string(self.path("client/.env")).unwrap()
    }

    fn value(&self, name: &str) -> String {
        let variables = dotenv::read(&self.path("client/.env"));
        variables.into_iter().find(|(known, _)| known == name).map(|(_, value)| value).unwrap_or_default()
    }

    async fn organisation(&self) -> Organisation {
        let tasks = TaskTracker::new();
        let options = LedgerOptions {
            path: self.path("client/data/mai-usage.db"),
            organisation: OrganisationFacts::none(clock().now()),
            tasks: tasks.clone(),
        };
        let (ledger, stopped) = Ledger::open(&options).await.unwrap();
        let organisation = ledger.organisation();
        drop(ledger);
        let _ = stopped.await;
        (*organisation).clone()
    }

    /// One key at OpenRouter that works and is the one in a complete `.env`; one organisation; nothing left behind.
    async fn check_finished(&self) {
        let keys = self.listed().await;
        assert_eq!(keys.len(), 1, "{keys:?}");
        let key = keys.first().unwrap();
        let secret = self.value("OPENROUTER_API_KEY");
        assert_eq!(key.hash, openrouter::hash_of_key(&secret));
        assert_eq!(key.name, format!("mAI Client: {NAME}"));
        assert_eq!((key.limit.as_deref(), key.limit_reset.as_deref()), (Some("250"), Some("monthly")));
        assert!(matches!(self.client().key(&secret.as_str().into()).await.unwrap(), KeyAnswer::Accepted(_)));
        let settings = Settings::from_variables(dotenv::read(&self.path("client/.env"))).unwrap();
        assert_eq!(settings.organization_name.as_deref(), Some(NAME));
        assert!(settings.usage_proxy_token.is_some() && settings.usage_admin_token.is_some());
        assert_eq!(self.value("WEBUI_SECRET_KEY").len(), 64);
        let organisation = self.organisation().await;
        assert_eq!(Some(organisation.id.as_str()), settings.openrouter_external_user.as_deref());
        assert_eq!((organisation.name.as_str(), organisation.markup.to_string().as_str()), (NAME, "1.3"));
        assert_eq!(organisation.monthly_limit.as_deref(), Some("250.00"));
        assert_eq!(organisation.billing_email.as_deref(), Some("a@b.example"));
        let mode =
            std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(self.path("client/.env")).unwrap());
        assert_eq!(mode & 0o777, 0o600);
        let left: BTreeSet<String> = std::fs::read_dir(self.path("client"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left, BTreeSet::from([".env".to_owned(), "data".to_owned()]));
    }
}

#[tokio::test]
async fn an_empty_folder_becomes_a_client_and_stays_one() {
    let world = World::new().await;
    let plan = world.setup(&[&ALL[..], &["--dry-run"]].concat()).await.unwrap();
    assert_eq!(plan.out.lines().count(), 6, "{plan:?}");
    assert!(!world.path("client/.env").exists() && world.listed().await.is_empty());

    let said = world.setup(&ALL).await.unwrap();
    assert!(said.out.contains("is complete") && said.notes.contains("next:"), "{said:?}");
    world.check_finished().await;
    let secret = world.value("OPENROUTER_API_KEY");
    assert!(!said.out.contains(&secret) && !said.notes.contains(&secret));

    let before = (world.env(), world.listed().await);
    let again = world.setup(&["--production"]).await.unwrap();
    assert!(again.out.contains(NAME), "{again:?}");
    world.check_finished().await;
    assert_eq!(before.0, world.env());
    assert_eq!(before.1[0].created_at, world.listed().await[0].created_at);
    let only_env = world.setup(&["--json"]).await.unwrap();
    assert!(only_env.out.contains("\"test_key\"") && !only_env.out.contains(&secret), "{only_env:?}");
    world.sim.stop().await;
}

/// Ended before and after each step, also between the making of the key and the writing of its secret: 100 runs and more.
#[tokio::test]
async fn interrupted_anywhere_the_next_run_finishes() {
    let mut runs = 0;
    for steps in 1..=6 {
        for _ in 0..13 {
            let world = World::new().await;
            world.setup_of(Person::who_leaves_after(steps), &ALL).await.unwrap_err();
            let token = world.value("USAGE_PROXY_TOKEN");
            world.setup(&ALL).await.unwrap();
            world.check_finished().await;
            assert_eq!(world.value("USAGE_PROXY_TOKEN"), token, "a token is made once");
            world.sim.stop().await;
            runs += 1;
        }
    }
    for lost in 0..24 {
        let world = World::new().await;
        // The intent is written, and OpenRouter has made the key; then the power fails.
        world.setup_of(Person::who_leaves_after(2), &ALL).await.unwrap_err();
        for _ in 0..=lost % 3 {
            let limit = metering::PicoUsd::parse("250").unwrap().amount;
            let new = NewKey {
                name: format!("mAI Client: {NAME}"),
                limit: Some(limit),
                limit_reset: Some(LimitReset::Monthly),
                include_byok_in_limit: false,
            };
            world.account().create(&new).await.unwrap();
        }
        world.setup(&ALL).await.unwrap();
        world.check_finished().await;
        world.sim.stop().await;
        runs += 1;
    }
    assert!(runs >= 100, "{runs}");
}

#[tokio::test]
async fn a_lost_answer_and_faults_leave_something_to_go_on_from() {
    let world = World::new().await;
    for case in ["429-platform", "500", "html-502"] {
        world.sim.set_knobs(Knobs { keys_error: Some(case.to_owned()), ..Knobs::default() });
        let error = world.setup(&ALL).await.unwrap_err();
        assert!(error.failure() == Failure::Other && !world.path("client/.env").exists(), "{error}");
    }
    world.sim.set_knobs(Knobs { keys_answer_lost: Some(true), ..Knobs::default() });
    let error = world.setup(&ALL).await.unwrap_err();
    assert!(matches!(error, OperatorError::SecretLost { .. }), "{error}");
    assert!(world.listed().await.is_empty());
    world.sim.set_knobs(Knobs::default());
    for wrong in [DEFAULT_KEY, "sk-or-v1-unknown"] {
        world.private_file("management", wrong);
        let error = world.setup(&ALL).await.unwrap_err().to_string();
        assert!(error.contains("management-keys") && !error.contains(wrong), "{error}");
    }
    world.private_file("management", DEFAULT_MANAGEMENT_KEY);
    world.setup(&ALL).await.unwrap();
    world.check_finished().await;
    world.sim.stop().await;
}

/// A server that burnt down: the key may be in use, so it goes only where the person says so.
#[tokio::test]
async fn a_key_whose_secret_is_unknown_is_replaced_only_on_purpose() {
    let world = World::new().await;
    world.keys(&["create", "--name", &format!("mAI Client: {NAME}"), "--limit", "5"]).await.unwrap();
    let before = world.listed().await;
    let error = world.setup(&ALL).await.unwrap_err();
    assert!(matches!(error, OperatorError::Setup(SetupError::SecretUnknown { .. })), "{error}");
    assert!(error.to_string().contains("--replace-key") && error.failure() == Failure::Usage, "{error}");
    world.setup_of(Person::who_answers(["n"]), &ALL).await.unwrap_err();
    assert_eq!(world.listed().await, before);
    world.setup_of(Person::who_answers(["y"]), &ALL).await.unwrap();
    world.check_finished().await;
    world.private_file(
        "client/.env",
        &world.env().replace("OPENROUTER_API_KEY=sk", "OPENROUTER_API_KEY=sk-or-v1-dead"),
    );
    let error = world.setup(&ALL).await.unwrap_err();
    assert!(matches!(error, OperatorError::Setup(SetupError::KeyDead)), "{error}");
    world.setup(&[&ALL[..], &["--replace-key"]].concat()).await.unwrap();
    world.check_finished().await;
    world.sim.stop().await;
}

#[tokio::test]
async fn a_persons_lines_stay_and_a_limit_follows() {
    let world = World::new().await;
    std::fs::create_dir(world.path("client")).unwrap();
    let mine = "# mine\nMAI_PORT=8007   # of this client\nWEBUI_SECRET_KEY='keep me, please $'\nORGANIZATION_NAME=old\n";
    world.private_file("client/.env", mine);
    world.setup(&ALL).await.unwrap();
    let text = world.env();
    assert!(text.starts_with("# mine\nMAI_PORT=8007   # of this client\nWEBUI_SECRET_KEY='keep me, please $'\nORGANIZATION_NAME='"), "{text}");
    world.setup(&["--limit", "300", "--sign-users"]).await.unwrap();
    assert_eq!(world.listed().await[0].limit.as_deref(), Some("300"));
    assert_eq!(
        (world.value("SPENDING_LIMIT").as_str(), world.value("OPENWEBUI_USER_JWT_SECRET").len()),
        ("300", 64)
    );
    assert_eq!(world.value("WEBUI_SECRET_KEY"), "keep me, please $");
    world.sim.stop().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_left_alone() {
    let world = World::new().await;
    std::fs::create_dir(world.path("client")).unwrap();
    world.private_file("client/.env", "A=1\n");
    world.set_mode("client/.env", 0o644);
    let refused = async |text: Option<&str>, words: &str| {
        if let Some(text) = text {
            world.private_file("client/.env", text);
        }
        let error = world.setup(&ALL).await.unwrap_err();
        assert!(error.to_string().contains(words) && error.failure() == Failure::Configuration, "{error}");
    };
    refused(None, "chmod 600").await;
    refused(Some("A='b\n"), "line 1").await;
    refused(Some("POLL_INTERVAL=soon\n"), "POLL_INTERVAL").await;
    refused(Some("ORGANIZATION_NAME=$NAME\n"), "single quotes").await;
    refused(Some(&format!("OPENROUTER_API_KEY={DEFAULT_MANAGEMENT_KEY}\n")), "management key").await;
    assert!(world.listed().await.is_empty());
    std::fs::remove_file(world.path("client/.env")).unwrap();
    let error = world.setup(&["--limit", "5"]).await.unwrap_err();
    assert!(error.to_string().contains("--organization") && error.failure() == Failure::Usage, "{error}");
    world.sim.stop().await;
}

#[tokio::test]
async fn a_person_is_asked_for_the_name_and_the_limit() {
    let world = World::new().await;
    let answers = ["Company_A", "lots", "unlimited"];
    world.setup_of(Person::who_answers(answers), &[]).await.unwrap();
    assert_eq!(world.value("OPENROUTER_EXTERNAL_USER"), "mai_client_63a4eb6d");
    assert_eq!(world.value("SPENDING_LIMIT"), "unlimited");
    assert_eq!(world.listed().await[0].limit, None);
    world.sim.stop().await;
}
