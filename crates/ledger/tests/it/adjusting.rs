//! Adjustments: once, together or not at all, and part of the roll-up.

use jiff::civil::date;
use ledger::{Adjust, Adjusted, Adjustment, Asker, UsageBy};
use metering::{Cost, ExternalUser, Markup, PicoUsd, Tokens, UserId};

use crate::{Books, at, now, settle};

fn cost(text: &str) -> Cost {
    let parsed = PicoUsd::parse(text).unwrap();
    Cost { amount: parsed.amount, text: text.to_owned(), exact: parsed.exact }
}

fn adjustment(books: &Books, reference: &str, amount: &str) -> Adjustment {
    let user_id = UserId::new("anna");
    let cost = cost(amount);
    Adjustment {
        reference: reference.to_owned(),
        note: "a correction".to_owned(),
        unattributed: false,
        generation_id: None,
        user: Asker {
            external_user: ExternalUser::of(&books.org, &user_id),
            user_id,
            name: None,
            email: None,
            role: None,
        },
        model: "openai/gpt-4o-mini".to_owned(),
        provider: None,
        day: date(2026, 11, 1),
        occurred_at: at("2026-11-01T12:00:00Z"),
        requests: 0,
        tokens: Tokens::default(),
        markup: Markup::DEFAULT,
        charge: Markup::DEFAULT.charge(cost.amount).unwrap(),
        cost,
    }
}

#[tokio::test]
async fn an_adjustment_is_booked_once_and_counts() {
    let books = Books::new().await;
    let call = books.open_call("anna", "gen-1790000000-AAAA").await;
    books.ledger.settle(settle(call, "1")).await.unwrap();
    let adjust = |references: &[&str]| Adjust {
        adjustments: references.iter().map(|reference| adjustment(&books, reference, "-0.25")).collect(),
        booked_at: now(),
    };
    let first = books.ledger.adjust(adjust(&["one", "other"])).await.unwrap();
    assert_eq!(first, Adjusted { booked: 2, already: 0 });
    let again = books.ledger.adjust(adjust(&["other", "third"])).await.unwrap();
    assert_eq!(again, Adjusted { booked: 1, already: 1 });
    let sums = books.usage(UsageBy::Nothing).await;
    assert_eq!((sums[0].requests, sums[0].cost_pico_usd), (1, 250_000_000_000));
    books.assert_sound().await;
}

#[tokio::test]
async fn adjustments_are_booked_together_or_not_at_all() {
    let books = Books::new().await;
    let adjustments = vec![adjustment(&books, "one", "0.5"), adjustment(&books, &"long".repeat(200), "0.5")];
    let refused = books.ledger.adjust(Adjust { adjustments, booked_at: now() }).await;
    assert!(matches!(refused, Err(ledger::WriteError::Refused(_))), "{refused:?}");
    assert_eq!(books.usage(UsageBy::Nothing).await[0].cost_pico_usd, 0);
    books.assert_sound().await;
}
