use super::*;
use crate::testing::key;

const NAME: &str = "mAI Client: Company_A";

fn wanted() -> Wanted {
    Wanted {
        organisation: "Company_A".to_owned(),
        limit: Limit::read("250").unwrap(),
        zone: "Europe/Warsaw".to_owned(),
        host: "https://openrouter.ai/api/v1".to_owned(),
        billing_email: None,
        database: None,
        sign_users: false,
        replace_key: false,
    }
}

fn complete() -> EnvFile {
    EnvFile::parse(
        "OPENROUTER_API_KEY=x\nOPENROUTER_HOST=https://openrouter.ai/api/v1\nOPENROUTER_EXTERNAL_USER=mai_client_63a4eb6d\n\
         ORGANIZATION_NAME=Company_A\nSPENDING_LIMIT=250\nBILLING_TIMEZONE=Europe/Warsaw\nUSAGE_PROXY_TOKEN=a\n\
         USAGE_ADMIN_TOKEN=b\nWEBUI_SECRET_KEY=c\n",
    )
    .unwrap()
}

fn facts(env: EnvFile, own_key: OwnKey, keys: Vec<KeyRecord>) -> Facts {
    Facts { env, keys, own_key, intent: None }
}

/// The steps by their first words.
#[track_caller]
fn check(wanted: &Wanted, facts: &Facts, expected: &[&str]) {
    let steps: Vec<String> = plan(wanted, facts).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(steps.len(), expected.len(), "{steps:#?}");
    for (step, expected) in steps.iter().zip(expected) {
        assert!(step.starts_with(expected), "{step} is not {expected}");
    }
}

fn unused(name: &str, hash: &str) -> KeyRecord {
    KeyRecord { usage: Some("0".to_owned()), last_used_at: None, ..key(name, hash) }
}

fn intent() -> Intent {
    Intent { key_name: NAME.to_owned(), at: "2026-09-21T13:00:05Z".parse().unwrap() }
}

#[test]
fn from_nothing() {
    let nothing = facts(EnvFile::default(), OwnKey::Missing, Vec::new());
    let all = Wanted { database: Some("data/usage.db".into()), ..wanted() };
    check(
        &all,
        &nothing,
        &[
            "write OPENROUTER_HOST, OPENROUTER_EXTERNAL_USER, ORGANIZATION_NAME, SPENDING_LIMIT, BILLING_TIMEZONE, \
             USAGE_PROXY_TOKEN, USAGE_ADMIN_TOKEN, WEBUI_SECRET_KEY to .env",
            "note that",
            "make the key \"mAI Client: Company_A\", limit 250 USD monthly",
            "remove the note",
            "test the key",
            "record the organisation \"Company_A\" (mai_client_63a4eb6d) in data/usage.db",
        ],
    );
}

#[test]
fn what_is_complete_is_only_tested() {
    let own = key(NAME, "aaaaaaaaaaaaaaaa");
    let facts = facts(complete(), OwnKey::Listed(own.clone().into()), vec![own]);
    check(&wanted(), &facts, &["test the key"]);
    assert!(plan(&wanted(), &facts).unwrap().iter().all(Step::only_asks));
    let dearer = Wanted { limit: Limit::read("300").unwrap(), ..wanted() };
    check(&dearer, &facts, &["write SPENDING_LIMIT to .env", "change the key", "test the key"]);
    let signed = Wanted { sign_users: true, ..wanted() };
    check(&signed, &facts, &["write OPENWEBUI_USER_JWT_SECRET to", "test the key"]);
}

#[test]
fn an_id_survives_another_name() {
    let own = key(NAME, "aaaaaaaaaaaaaaaa");
    let facts = facts(complete(), OwnKey::Listed(own.clone().into()), vec![own]);
    let renamed = Wanted { organisation: "Company B".to_owned(), ..wanted() };
    check(&renamed, &facts, &["write ORGANIZATION_NAME to .env", "test the key"]);
}

#[test]
fn a_key_whose_making_was_interrupted_is_made_again() {
    let lost = unused(NAME, "bbbbbbbbbbbbbbbb");
    let facts = Facts { intent: Some(intent()), ..facts(complete(), OwnKey::Missing, vec![lost]) };
    check(&wanted(), &facts, &["delete the key", "note", "make the key", "remove the note", "test"]);
}

#[test]
fn a_key_that_may_be_in_use_is_not_touched_without_agreement() {
    for (key, intent) in [
        (key(NAME, "bbbbbbbbbbbbbbbb"), Some(intent())),
        (unused(NAME, "bbbbbbbbbbbbbbbb"), None),
        (
            KeyRecord {
                created_at: Some("2026-01-01T00:00:00Z".to_owned()),
                ..unused(NAME, "bbbbbbbbbbbbbbbb")
            },
            Some(intent()),
        ),
    ] {
        let facts = Facts { intent, ..facts(complete(), OwnKey::Missing, vec![key]) };
        let error = plan(&wanted(), &facts).unwrap_err();
        assert!(matches!(error, SetupError::SecretUnknown { .. }) && error.question().is_some());
        let agreed = Wanted { replace_key: true, ..wanted() };
        check(&agreed, &facts, &["delete the key", "note", "make the key", "remove the note", "test"]);
    }
}

#[test]
fn a_finished_run_leaves_other_keys_alone() {
    let own = key(NAME, "aaaaaaaaaaaaaaaa");
    let others = [key(NAME, "bbbbbbbbbbbbbbbb"), key("other", "cccccccccccccccc"), own.clone()];
    let facts = facts(complete(), OwnKey::Listed(own.into()), others.to_vec());
    check(&wanted(), &facts, &["test the key"]);
    let crashed = Facts { intent: Some(intent()), ..facts };
    check(&wanted(), &crashed, &["remove the note", "test the key"]);
}

#[test]
fn a_persons_own_key_is_kept_and_a_dead_one_asked_about() {
    check(&wanted(), &facts(complete(), OwnKey::Foreign, Vec::new()), &["test the key"]);
    let dead = facts(complete(), OwnKey::Dead, Vec::new());
    assert_eq!(plan(&wanted(), &dead), Err(SetupError::KeyDead));
    let agreed = Wanted { replace_key: true, ..wanted() };
    check(&agreed, &dead, &["note", "make the key", "remove the note", "test"]);
    let disabled = KeyRecord { disabled: true, ..key(NAME, "aaaaaaaaaaaaaaaa") };
    let disabled = facts(complete(), OwnKey::Listed(disabled.into()), Vec::new());
    assert!(matches!(plan(&agreed, &disabled), Err(SetupError::KeyDisabled { .. })));
}

#[test]
fn no_plan_shows_a_secret() {
    let nothing = facts(EnvFile::parse("OPENROUTER_API_KEY=canary").unwrap(), OwnKey::Foreign, Vec::new());
    let steps = plan(&wanted(), &nothing).unwrap();
    let text = format!("{}{nothing:?}", serde_json::to_string(&steps).unwrap());
    assert!(!text.contains("canary") && text.contains("USAGE_PROXY_TOKEN"), "{text}");
}
