//! One story: a morning of three users, from admission to the views of the original.

use ledger::{LeaveOpen, Settled};
use metering::{CostSource, PicoUsd, Settlement};
use sqlx::Row as _;

use crate::{Books, now, report, settle};

#[tokio::test]
async fn a_morning_is_booked_and_survives_a_restart() {
    let books = Books::new().await;
    let anna = books.open_call("anna", "gen-1790000000-AAAA").await;
    let bob = books.open_call("bob", "gen-1790000001-BBBB").await;
    let (_, again) = books.admit("anna").await;
    assert!(!again.first_of_user);

    let booked = books.ledger.settle(settle(anna, "0.00154")).await.unwrap();
    assert_eq!(booked, Settled::Booked { charge: PicoUsd::new(2_002_000_000) });

    let left = LeaveOpen {
        call_id: bob,
        outcome: "client-left",
        known: Settlement::default(),
        closed_at: now(),
        next_ask_at: now(),
    };
    books.ledger.leave_open(left).await.unwrap();
    let books = books.reopen().await;
    assert_eq!(books.ledger.orphan_interrupted(now()).await.unwrap(), 1);

    let due = books.ledger.reader().due_calls(now(), jiff::Timestamp::MAX, 7, 10).await.unwrap();
    assert_eq!(
        due.iter().map(|call| call.generation_id.as_str()).collect::<Vec<_>>(),
        ["gen-1790000001-BBBB"]
    );
    let mut by_poll = settle(bob, "1");
    by_poll.settlement = report(CostSource::Generation, "8e-8");
    books.ledger.settle(by_poll).await.unwrap();

    let unsettled = books.ledger.reader().unsettled(None).await.unwrap();
    assert_eq!((unsettled.intent, unsettled.open, unsettled.orphan), (0, 0, 1));
    books.assert_sound().await;
    assert_views(&books).await;
}

/// The views have the original's columns, money in USD, and agree with one another.
async fn assert_views(books: &Books) {
    let mut connection = books.connection().await;
    let day = sqlx::query(
        "SELECT id, usage_date, total_tokens, total_requests, raw_cost, markup_cost, primary_model, unique_users
         FROM client_daily_usage",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    assert_eq!(day.get::<String, _>("id"), "mai_client_63a4eb6d:2026-09-21");
    assert_eq!(day.get::<i64, _>("total_tokens"), 44);
    assert_eq!(day.get::<i64, _>("total_requests"), 2);
    assert_eq!(format!("{:.8}", day.get::<f64, _>("raw_cost")), "0.00154008");
    assert_eq!(day.get::<i64, _>("unique_users"), 2);
    assert_eq!(day.get::<String, _>("primary_model"), "openai/gpt-4o-mini");

    let users =
        sqlx::query("SELECT user_id, openrouter_user_id FROM client_user_daily_usage ORDER BY user_id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(users.len(), 2);
    assert!(
        users
            .iter()
            .all(|user| user.get::<String, _>("openrouter_user_id").starts_with("mai_client_63a4eb6d_user_"))
    );
    let model = sqlx::query("SELECT provider, total_requests FROM client_model_daily_usage")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(model.get::<String, _>("provider"), "openai");
    assert_eq!(model.get::<i64, _>("total_requests"), 2);
}
