//! Once, immutable, and refused where it contradicts.

use ledger::{Asked, Ending, LeaveOpen, Settled, UsageBy, WriteError};
use metering::{CostSource, PicoUsd, Report, Settlement, Tokens};
use proptest::prelude::*;

use crate::{Books, known, now, report, settle};

#[tokio::test]
async fn a_call_settles_once_however_often_it_is_reported() {
    let books = Books::new().await;
    let call = books.open_call("anna", "gen-1790000000-AAAA").await;
    for expected in
        [Settled::Booked { charge: PicoUsd::new(1_300_000_000_000) }, Settled::Already, Settled::Already]
    {
        assert_eq!(books.ledger.settle(settle(call, "1")).await.unwrap(), expected);
    }
    books.assert_sound().await;
}

#[tokio::test]
async fn a_generation_id_settles_once_and_the_clash_is_visible() {
    let books = Books::new().await;
    let one = books.open_call("anna", "gen-1790000000-AAAA").await;
    let other = books.open_call("bob", "gen-1790000000-AAAA").await;
    books.ledger.settle(settle(one, "1")).await.unwrap();
    assert_eq!(books.ledger.settle(settle(other, "1")).await.unwrap(), Settled::Clash);
    let verification = books.ledger.reader().verify().await.unwrap();
    assert_eq!((verification.entries, verification.findings), (1, vec![]));
}

/// An answer that came whole has no W2 of its own.
#[tokio::test]
async fn a_call_is_settled_with_the_generation_id_that_comes_with_its_cost() {
    let books = Books::new().await;
    let (call, _) = books.admit("anna").await;
    let mut at_once = settle(call, "1");
    at_once.generation_id = Some("gen-1790000000-AAAA".into());
    let booked = Settled::Booked { charge: PicoUsd::new(1_300_000_000_000) };
    assert_eq!(books.ledger.settle(at_once.clone()).await.unwrap(), booked);
    assert_eq!(books.ledger.settle(at_once.clone()).await.unwrap(), Settled::Already);
    // Its id counts for others, too.
    at_once.call_id = books.admit("bob").await.0;
    assert_eq!(books.ledger.settle(at_once).await.unwrap(), Settled::Clash);
    books.assert_sound().await;
}

#[tokio::test]
async fn a_settling_for_which_nobody_waits_shares_the_next_commit() {
    let books = Books::new().await;
    let one = books.open_call("anna", "gen-1790000000-AAAA").await;
    let other = books.open_call("bob", "gen-1790000000-BBBB").await;
    let commits = books.ledger.commits();
    let before = *commits.borrow();
    let (one, other, _) = tokio::join!(
        books.ledger.settle_soon(settle(one, "1")),
        books.ledger.settle_soon(settle(other, "1")),
        books.admit("carl"),
    );
    assert!(matches!((one.unwrap(), other.unwrap()), (Settled::Booked { .. }, Settled::Booked { .. })));
    assert_eq!(*commits.borrow() - before, 1);
    // And where no other commit comes, it has its own.
    let last = books.open_call("anna", "gen-1790000000-CCCC").await;
    books.ledger.settle_soon(settle(last, "1")).await.unwrap();
    books.assert_sound().await;
}

#[tokio::test]
async fn what_a_broken_answer_told_is_kept_for_the_entry() {
    let books = Books::new().await;
    let call = books.open_call("anna", "gen-1790000000-AAAA").await;
    let told = Report {
        tokens: Tokens { prompt: Some(7), ..Tokens::default() },
        model: Some("google/gemini-2.5-pro".into()),
        ..Report::empty(CostSource::Response)
    };
    let left = LeaveOpen {
        call_id: call,
        outcome: "client-left",
        known: Settlement::of(told),
        closed_at: now(),
        next_ask_at: now(),
    };
    books.ledger.leave_open(left).await.unwrap();
    let mut by_poll = settle(call, "1");
    by_poll.settlement = report(CostSource::Generation, "0.5");
    books.ledger.settle(by_poll).await.unwrap();
    let models = books.usage(UsageBy::Model).await;
    assert_eq!(models[0].model.as_deref(), Some("google/gemini-2.5-pro"));
    // Counts from before the break are not final; the record's are.
    assert_eq!((models[0].prompt_tokens, models[0].completion_tokens), (20, 2));
}

#[tokio::test]
async fn a_generation_id_may_be_told_twice() {
    let books = Books::new().await;
    let call = books.open_call("anna", "gen-1790000000-AAAA").await;
    books.ledger.know_generation(known(call, "gen-1790000000-AAAA")).await.unwrap();
    refused(books.ledger.know_generation(known(call, "gen-1790000000-BBBB")).await);
}

#[tokio::test]
async fn a_sum_beyond_64_bits_is_refused_alone() {
    let books = Books::new().await;
    let mut settles = Vec::new();
    for number in 0..3 {
        let call = books.open_call("anna", &format!("gen-1790000000-{number}")).await;
        settles.push(books.ledger.settle(settle(call, "4000000")));
    }
    let outcomes = futures_util::future::join_all(settles).await;
    let booked = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert_eq!(booked, 1, "{outcomes:?}");
    assert!(
        outcomes.iter().all(|outcome| !matches!(outcome, Err(WriteError::Unwritable(_)))),
        "{outcomes:?}"
    );
    books.assert_sound().await;
}

#[tokio::test]
async fn an_answer_without_a_generation_id_is_booked_at_its_admission() {
    let books = Books::new().await;
    let (call, _) = books.admit("anna").await;
    books.ledger.settle(settle(call, "0")).await.unwrap();
    let days = books.usage(UsageBy::Day).await;
    assert_eq!((days[0].day.as_deref(), days[0].requests), (Some("2026-11-22"), 1));
    books.assert_sound().await;
}

#[tokio::test]
async fn contradictions_are_refused_and_change_nothing() {
    let books = Books::new().await;
    let call = books.open_call("anna", "gen-1790000000-AAAA").await;
    let ending = |call_id| Ending {
        call_id,
        outcome: "refused",
        note: "402".into(),
        http_status: None,
        closed_at: now(),
    };
    let unpriced = Settlement::of(Report::empty(CostSource::Response));
    let mut without_cost = settle(call, "1");
    without_cost.settlement = unpriced;

    refused(books.ledger.know_generation(known(call, "gen-1790000000-CCCC")).await);
    refused(books.ledger.orphan(ending(call)).await);
    refused(books.ledger.settle(without_cost).await);
    books.ledger.settle(settle(call, "1")).await.unwrap();
    refused(books.ledger.void(ending(call)).await);
    let asked = Asked { call_id: call, note: "404".into(), next_ask_at: None };
    refused(books.ledger.note_asked(asked).await);
    refused(books.ledger.void(ending(ledger::CallId::nil())).await);
    books.assert_sound().await;
}

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, WriteError>) {
    assert!(matches!(outcome, Err(WriteError::Refused(_))), "{outcome:?}");
}

#[tokio::test]
async fn entries_and_final_states_cannot_be_changed_by_any_statement() {
    let books = Books::new().await;
    let call = books.open_call("anna", "gen-1790000000-AAAA").await;
    books.ledger.settle(settle(call, "1")).await.unwrap();
    let mut connection = books.connection().await;
    for statement in [
        "UPDATE entries SET cost_pico_usd = 0",
        "UPDATE entries SET digest = NULL",
        "DELETE FROM entries",
        "UPDATE calls SET state = 'open'",
        "UPDATE calls SET generation_id = 'gen-other'",
        "DELETE FROM calls",
    ] {
        let error = sqlx::query(statement).execute(&mut connection).await.unwrap_err();
        assert!(
            error.to_string().contains("never") || error.to_string().contains("final"),
            "{statement}: {error}"
        );
    }
}

#[tokio::test]
async fn verify_names_what_was_tampered_with() {
    for (statement, word) in [
        ("UPDATE daily_usage SET cost_pico_usd = cost_pico_usd + 1", "roll-up: the daily row"),
        ("DELETE FROM daily_usage", "roll-up: no daily row"),
        (
            "INSERT INTO daily_usage SELECT 'x', day, user_id, model, 1, 1, 1, 1, 1, 1, 1 FROM daily_usage",
            "no entries",
        ),
        ("DROP TRIGGER entries_no_update; UPDATE entries SET charge_pico_usd = 1", "charge"),
        ("DROP TRIGGER entries_no_update; UPDATE entries SET cost_text = '2'", "is not its text"),
        (
            "DROP TRIGGER entries_no_update; UPDATE entries SET generation_id = 'gen-other'",
            "is not that of call",
        ),
        ("DROP TRIGGER entries_no_update; UPDATE entries SET provider = 'x'", "entry 1: it is not what was"),
        ("DROP TRIGGER entries_seal_once; UPDATE entries SET digest = NULL", "entry 1: it is not what was"),
        ("DROP TRIGGER calls_states; UPDATE calls SET state = 'open'", "once: call"),
        ("UPDATE calls SET model_asked = 'x'", "it is not what was written"),
    ] {
        let books = Books::new().await;
        let call = books.open_call("anna", "gen-1790000000-AAAA").await;
        books.ledger.settle(settle(call, "1")).await.unwrap();
        let mut connection = books.connection().await;
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        let findings = books.ledger.reader().verify().await.unwrap().findings;
        assert!(
            findings.iter().any(|finding| finding.to_string().contains(word)),
            "{statement}: {findings:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Many callers at once, in any order, some reported twice: roll-up = ledger, and the sums are exact.
    #[test]
    fn roll_up_equals_ledger(calls in proptest::collection::vec((0_u8..4, 0_i64..1_000_000_000, 1_u8..3), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let books = Books::new().await;
            let settled = calls.iter().enumerate().map(|(number, (user, pico, times))| {
                let books = &books;
                async move {
                    let call = books.open_call(&format!("user {user}"), &format!("gen-1790000000-{number}")).await;
                    for _ in 0..*times {
                        books.ledger.settle(settle(call, &format!("{pico}e-12"))).await.unwrap();
                    }
                }
            });
            futures_util::future::join_all(settled).await;
            let verification = books.ledger.reader().verify().await.unwrap();
            assert_eq!(verification.findings, []);
            assert_eq!(verification.cost.pico(), calls.iter().map(|(_, pico, _)| pico).sum::<i64>());
            let users = books.usage(UsageBy::User).await;
            let charges: i64 = users.iter().map(|user| user.charge_pico_usd).sum();
            assert_eq!(charges, verification.charge.pico());
        });
    }
}
