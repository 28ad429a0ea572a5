//! `mai-usage keys`.

use openrouter::{KeyAnswer, NewKey};
use openrouter_sim::{DEFAULT_KEY, DEFAULT_MANAGEMENT_KEY, Knobs};
use operator::{Failure, OperatorError};
use serde_json::Value;

use crate::World;
use crate::person::Person;

fn knobs(error: &str) -> Knobs {
    Knobs { keys_error: Some(error.to_owned()), ..Knobs::default() }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_key_from_its_making_to_its_end() {
    let world = World::new().await;
    let made = world.keys(&["create", "--name", "Company A", "--limit", "250.00"]).await.unwrap();
    let secret = made.out.trim();
    assert!(secret.starts_with("sk-or-v1-") && !made.notes.contains(secret), "{made:?}");
    assert!(matches!(world.client().key(&secret.into()).await.unwrap(), KeyAnswer::Accepted(_)));
    let [key] = &world.listed().await[..] else { panic!("one key") };
    assert_eq!(openrouter::hash_of_key(secret), key.hash);
    assert_eq!((key.limit.as_deref(), key.limit_reset.as_deref()), (Some("250"), Some("monthly")));

    let prefix = &key.hash[..8];
    world.keys(&["set-limit", prefix, "--limit", "100", "--reset", "weekly"]).await.unwrap();
    world.keys(&["disable", "Company A"]).await.unwrap();
    assert_eq!(world.client().key(&secret.into()).await.unwrap(), KeyAnswer::Rejected);
    let list = world.keys(&["list"]).await.unwrap().out;
    assert!(list.contains("disabled") && list.contains("100") && list.contains("weekly"), "{list}");
    let shown = json(&world.keys(&["show", &key.hash, "--json"]).await.unwrap().out);
    assert_eq!(
        (&shown["disabled"], &shown["limit"], &shown["hash"]),
        (&true.into(), &"100".into(), &key.hash.as_str().into())
    );
    let again = world.keys(&["disable", "Company A"]).await.unwrap();
    assert!(again.notes.contains("nothing to do"), "{again:?}");
    world.keys(&["enable", "Company A"]).await.unwrap();
    world.keys(&["set-limit", "Company A", "--limit", "unlimited"]).await.unwrap();
    let key = world.account().show(&key.hash).await.unwrap();
    assert_eq!((key.disabled, key.limit, key.limit_reset), (false, None, None));

    world.keys(&["delete", "Company A", "--yes"]).await.unwrap();
    assert!(world.listed().await.is_empty());
    world.sim.stop().await;
}

#[tokio::test]
async fn all_pages_are_read_and_usage_is_exact() {
    let world = World::new().await;
    let account = world.account();
    for number in 0..205 {
        let new = NewKey {
            name: format!("key-{number}"),
            limit: None,
            limit_reset: None,
            include_byok_in_limit: false,
        };
        account.create(&new).await.unwrap();
    }
    let list = json(&world.keys(&["list", "--json"]).await.unwrap().out);
    assert_eq!(list.as_array().unwrap().len(), 205);
    let usage = world.keys(&["usage"]).await.unwrap().out;
    assert!(usage.contains("key-0 ") && usage.contains("key-204 "), "{usage}");
    assert_eq!(world.keys(&["usage", "key-7"]).await.unwrap().out.lines().count(), 3);
    world.sim.stop().await;
}

#[tokio::test]
async fn a_plan_changes_nothing() {
    let world = World::new().await;
    world.keys(&["create", "--name", "A", "--limit", "5"]).await.unwrap();
    let before = world.listed().await;
    for line in [
        &["create", "--name", "B", "--limit", "unlimited"][..],
        &["set-limit", "A", "--limit", "7"],
        &["disable", "A"],
        &["rotate", "A"],
        &["delete", "A"],
    ] {
        let said = world.keys(&[line, &["--dry-run"]].concat()).await.unwrap();
        assert!(said.out.starts_with("would "), "{said:?}");
        let plan = json(&world.keys(&[line, &["--dry-run", "--json"]].concat()).await.unwrap().out);
        assert_eq!(plan["dry_run"], true);
        assert!(plan["plan"][0]["step"].is_string());
    }
    assert_eq!(world.listed().await, before);
    world.sim.stop().await;
}

#[tokio::test]
async fn a_rotation_leaves_one_key_that_works() {
    let world = World::new().await;
    let old = world.keys(&["create", "--name", "A", "--limit", "5", "--reset", "daily"]).await.unwrap().out;
    let file = world.path("new-key");
    let line = ["rotate", "A", "--yes", "--json", "--output", file.to_str().unwrap()];
    let said = json(&world.keys(&line).await.unwrap().out);
    let new = std::fs::read_to_string(&file).unwrap();
    assert!(said.get("key").is_none() && said["record"]["hash"] == openrouter::hash_of_key(new.trim()));
    assert_eq!(world.client().key(&old.trim().into()).await.unwrap(), KeyAnswer::Rejected);
    assert!(matches!(world.client().key(&new.trim().into()).await.unwrap(), KeyAnswer::Accepted(_)));
    let [key] = &world.listed().await[..] else { panic!("one key") };
    assert_eq!((key.limit.as_deref(), key.limit_reset.as_deref()), (Some("5"), Some("daily")));

    world.keys(&["rotate", "A", "--yes", "--keep-old"]).await.unwrap();
    let names: Vec<(String, bool)> =
        world.listed().await.into_iter().map(|key| (key.name, key.disabled)).collect();
    assert_eq!(names, [("A".to_owned(), false), ("A (replaced 2026-11-22)".to_owned(), true)]);
    world.sim.stop().await;
}

/// With the client's folder the new secret is in its `.env` before the old key goes, and another client's key is not touched.
#[tokio::test]
async fn a_rotation_in_a_folder_keeps_the_client_working() {
    let world = World::new().await;
    let old = world.keys(&["create", "--name", "A", "--limit", "5"]).await.unwrap().out;
    world.keys(&["create", "--name", "B", "--limit", "5"]).await.unwrap();
    world.private_file(".env", &format!("# mine\nOPENROUTER_API_KEY={}\nUSAGE_PORT=9003\n", old.trim()));
    let folder = world.path("");
    let error =
        world.keys(&["rotate", "B", "--yes", "--folder", folder.to_str().unwrap()]).await.unwrap_err();
    assert!(error.to_string().contains("does not have that key"), "{error}");
    let said = world.keys(&["rotate", "--yes", "--folder", folder.to_str().unwrap()]).await.unwrap();
    let env = std::fs::read_to_string(folder.join(".env")).unwrap();
    let new = env.lines().find_map(|line| line.strip_prefix("OPENROUTER_API_KEY=")).unwrap();
    assert!(env.starts_with("# mine\n") && env.contains("USAGE_PORT=9003") && !said.out.contains(new));
    assert!(matches!(world.client().key(&new.into()).await.unwrap(), KeyAnswer::Accepted(_)));
    assert_eq!(world.client().key(&old.trim().into()).await.unwrap(), KeyAnswer::Rejected);
    assert_eq!(world.listed().await.len(), 2);
    world.sim.stop().await;
}

/// Whoever does not agree has two keys that work, and is told so.
#[tokio::test]
async fn a_rotation_waits_for_the_person() {
    let world = World::new().await;
    world.keys(&["create", "--name", "A", "--limit", "5"]).await.unwrap();
    let error = world.keys(&["rotate", "A"]).await.unwrap_err();
    assert_eq!(error.failure(), Failure::Usage);
    assert_eq!(world.listed().await.len(), 1);
    let said = world.keys_of(Person::who_answers(["n"]), &["rotate", "A"]).await.unwrap();
    assert!(said.notes.contains("still works"), "{said:?}");
    assert!(world.listed().await.iter().all(|key| !key.disabled));
    let error = world.keys(&["show", "A"]).await.unwrap_err();
    assert!(error.to_string().starts_with("2 keys are called"), "{error}");
    world.sim.stop().await;
}

/// A file that cannot be written is found out when there is a key already: it is taken back.
#[tokio::test]
async fn a_secret_that_cannot_be_handed_over_leaves_no_key() {
    let world = World::new().await;
    world.private_file("taken", "x");
    let (taken, missing) = (world.path("taken"), world.path("no/folder"));
    for file in [taken, missing] {
        let line = ["create", "--name", "A", "--limit", "5", "--output", file.to_str().unwrap()];
        world.keys(&line).await.unwrap_err();
        assert!(world.listed().await.is_empty());
    }
    world.sim.stop().await;
}

#[tokio::test]
async fn a_lost_answer_leaves_no_key() {
    let world = World::new().await;
    world.keys(&["create", "--name", "A", "--limit", "5"]).await.unwrap();
    world.sim.set_knobs(Knobs { keys_answer_lost: Some(true), ..Knobs::default() });
    for line in [&["create", "--name", "B", "--limit", "5"][..], &["rotate", "A", "--yes"]] {
        let error = world.keys(line).await.unwrap_err();
        assert!(
            error.to_string().contains("it was deleted") && error.to_string().contains("hint:"),
            "{error}"
        );
        let names: Vec<String> = world.listed().await.into_iter().map(|key| key.name).collect();
        assert_eq!(names, ["A"]);
    }
    world.sim.stop().await;
}

#[tokio::test]
async fn faults_are_told_with_what_to_do() {
    let world = World::new().await;
    for (case, words) in [
        ("429-platform", "429"),
        ("500", "HTTP 500"),
        ("html-502", "502"),
        ("403-not-management", "management-keys"),
    ] {
        world.sim.set_knobs(knobs(case));
        let error = world.keys(&["list"]).await.unwrap_err();
        assert!(error.to_string().contains(words) && error.failure() == Failure::Other, "{error}");
    }
    world.sim.set_knobs(Knobs::default());
    for wrong in [DEFAULT_KEY, "sk-or-v1-unknown"] {
        world.private_file("management", wrong);
        let error = world.keys(&["list"]).await.unwrap_err().to_string();
        assert!(error.contains("management-keys") && !error.contains(wrong), "{error}");
    }
    world.private_file("management", "not a key");
    assert!(matches!(world.keys(&["list"]).await, Err(OperatorError::ManagementKey)));
    world.private_file("management", DEFAULT_MANAGEMENT_KEY);
    world.set_mode("management", 0o644);
    let error = world.keys(&["list"]).await.unwrap_err();
    assert!(error.failure() == Failure::Configuration && error.to_string().contains("chmod 600"), "{error}");
    world.sim.stop().await;
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_without_a_terminal() {
    let world = World::new().await;
    let failed = async |line: &[&str]| world.keys(line).await.unwrap_err();
    for (line, words) in [
        (&["create", "--limit", "5"][..], "--name"),
        (&["create", "--name", "A"], "--limit"),
        (&["create", "--name", "A", "--limit", "1,5"], "--limit must be"),
        (&["create", "--name", "", "--limit", "5"], "--name must have"),
        (&["show"], "KEY"),
    ] {
        let error = failed(line).await;
        assert!(error.to_string().contains(words) && error.failure() == Failure::Usage, "{error}");
    }
    let error = failed(&["show", "nobody"]).await;
    assert!(error.to_string().contains("hint: mai-usage keys list"), "{error}");
    world.keys(&["create", "--name", "A", "--limit", "5"]).await.unwrap();
    assert_eq!(failed(&["delete", "A"]).await.failure(), Failure::Usage);
    assert!(failed(&["create", "--name", "A", "--limit", "5"]).await.to_string().contains("already"));
    assert_eq!(world.listed().await.len(), 1);
    world.sim.stop().await;
}

#[tokio::test]
async fn a_person_is_asked_for_what_is_missing() {
    let world = World::new().await;
    let person = Person::who_answers(["Zakład Żółw", "much", "250"]);
    let said = world.keys_of(person, &["create"]).await.unwrap();
    assert!(said.notes.contains("must be"), "{said:?}");
    let [key] = &world.listed().await[..] else { panic!("one key") };
    assert_eq!((key.name.as_str(), key.limit.as_deref()), ("Zakład Żółw", Some("250")));
    let said = world.keys_of(Person::who_answers(["Żółw", "n"]), &["delete"]).await.unwrap();
    assert!(said.notes.contains("nothing was changed"), "{said:?}");
    world.keys_of(Person::who_answers(["Żółw", "y"]), &["delete"]).await.unwrap();
    assert!(world.listed().await.is_empty());
    world.sim.stop().await;
}
