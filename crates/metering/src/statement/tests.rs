use std::collections::BTreeSet;

use jiff::civil::date;
use proptest::prelude::*;

use super::*;

/// 2026-11-20, midnight UTC.
const START: i64 = 1_795_132_800;

fn instant(second: i64) -> Timestamp {
    Timestamp::from_second(START + second).unwrap()
}

fn amount(pico: i64) -> PicoUsd {
    PicoUsd::new(pico)
}

fn cost(pico: i64) -> Cost {
    Cost { amount: amount(pico), text: format!("{pico}e-12"), exact: true }
}

/// A generation of `user` at `second` of the day.
fn stated(second: i64, name: &str, user: &str, pico: i64) -> StatedGeneration {
    StatedGeneration {
        generation_id: format!("gen-{}-{name}", START + second),
        at: instant(second),
        external_user: Some(user.to_owned()),
        model: Some("a/b-20260901".to_owned()),
        cost: cost(pico),
        requests: 1,
        tokens: Tokens::default(),
    }
}

/// A statement that is late enough to be final.
fn statement(generations: Vec<StatedGeneration>) -> Statement {
    Statement {
        day: date(2026, 11, 20),
        key_hashes: vec!["ab".to_owned()],
        fetched_at: instant(72 * 3_600),
        complete: true,
        generations,
        without_generation: PicoUsd::ZERO,
    }
}

fn orphan(second: i64, name: &str, user: &str) -> Orphan {
    Orphan {
        call_id: name.to_owned(),
        external_user: Some(user.to_owned()),
        model_asked: "a/b".to_owned(),
        admitted_at: instant(second),
    }
}

fn books() -> DayBooks {
    DayBooks { began_at: Some(instant(-3_600)), previous_is_final: true, ..DayBooks::default() }
}

#[track_caller]
fn steps(generations: Vec<StatedGeneration>, books: &DayBooks) -> Vec<StatementStep> {
    plan_statement(&statement(generations), books).unwrap().steps
}

fn settles(call_id: &str, generation: usize) -> StatementStep {
    StatementStep::SettleOrphan { call_id: call_id.to_owned(), generation }
}

#[test]
fn what_the_ledger_knows_is_compared() {
    let generations =
        vec![stated(10, "same", "u", 5), stated(11, "more", "u", 7), stated(12, "open", "u", 1)];
    let booked = |place: usize, pico| BookedGeneration {
        generation_id: generations[place].generation_id.clone(),
        cost: amount(pico),
        on_this_day: true,
    };
    let open = OpenGeneration { call_id: "c".into(), generation_id: generations[2].generation_id.clone() };
    let books = DayBooks {
        booked: vec![booked(0, 5), booked(1, 9)],
        open: vec![open],
        ledger: amount(14),
        ..books()
    };
    let plan = plan_statement(&statement(generations), &books).unwrap();
    let expected = [
        StatementStep::Correct { generation: 1, difference: amount(-2) },
        StatementStep::Settle { call_id: "c".into(), generation: 2 },
    ];
    assert_eq!(plan.steps, expected);
    assert_eq!((plan.bill, plan.ledger, plan.difference), (amount(13), amount(13), PicoUsd::ZERO));
    assert!(plan.is_final && plan.corrected == amount(-2));
}

#[test]
fn orphans_of_one_user_and_model_are_paired_in_their_order() {
    let books = DayBooks { orphans: vec![orphan(100, "second", "u"), orphan(50, "first", "u")], ..books() };
    let generations = vec![stated(101, "x", "u", 1), stated(51, "y", "u", 2)];
    assert_eq!(steps(generations, &books), [settles("first", 1), settles("second", 0)]);
}

/// The wrong user must never pay: whoever else has an orphan at that time.
#[test]
fn an_orphan_of_somebody_else_is_left_alone() {
    let books = DayBooks { orphans: vec![orphan(50, "hers", "anna")], ..books() };
    for user in [Some("bob"), None] {
        let mut generation = stated(51, "x", "", 1);
        generation.external_user = user.map(str::to_owned);
        let plan = plan_statement(&statement(vec![generation]), &books).unwrap();
        let void = StatementStep::Void { call_id: "hers".into() };
        assert_eq!(plan.steps, [StatementStep::BookUnattributed { generation: 0 }, void]);
    }
    // Two accounts that OpenRouter was told the same of.
    let mut shared = orphan(50, "whose", "anna");
    shared.external_user = None;
    let books = DayBooks { orphans: vec![shared], ..books };
    let first = &steps(vec![stated(51, "x", "anna", 1)], &books)[0];
    assert_eq!(*first, StatementStep::BookUnattributed { generation: 0 });
}

#[test]
fn an_orphan_is_not_paired_at_another_time() {
    let books = DayBooks { orphans: vec![orphan(5_000, "o", "u")], ..books() };
    for (second, paired) in [(4_879, false), (4_880, true), (6_200, true), (6_201, false)] {
        let first = &steps(vec![stated(second, "x", "u", 1)], &books)[0];
        assert_eq!(*first == settles("o", 0), paired, "{second}");
    }
}

#[test]
fn another_model_is_believed_where_nothing_else_comes_into_question() {
    let other = |second: i64, name: &str| StatedGeneration {
        model: Some("x/y".to_owned()),
        ..stated(second, name, "u", 1)
    };
    let one = DayBooks { orphans: vec![orphan(50, "o", "u")], ..books() };
    assert_eq!(steps(vec![other(51, "a")], &one), [settles("o", 0)]);
    let two_generations = steps(vec![other(51, "a"), other(52, "b")], &one);
    assert!(!two_generations.iter().any(|step| matches!(step, StatementStep::SettleOrphan { .. })));
    let two_orphans = DayBooks { orphans: vec![orphan(50, "o", "u"), orphan(51, "p", "u")], ..books() };
    let ambiguous = steps(vec![other(52, "a")], &two_orphans);
    assert!(!ambiguous.iter().any(|step| matches!(step, StatementStep::SettleOrphan { .. })));
}

#[test]
fn an_entry_without_an_id_is_recognised_and_not_booked_again() {
    let entry = |pico| Unnamed { entry_id: 7, external_user: "u".into(), cost: amount(pico), at: instant(9) };
    let generation = || vec![stated(10, "x", "u", 5)];
    let books = DayBooks { unnamed: vec![entry(5)], ledger: amount(5), ..books() };
    assert_eq!(steps(generation(), &books), [StatementStep::Recognise { entry_id: 7, generation: 0 }]);
    let books = DayBooks { unnamed: vec![entry(6)], ledger: amount(6), ..books };
    let plan = plan_statement(&statement(generation()), &books).unwrap();
    assert_eq!(plan.steps, [StatementStep::BookUnattributed { generation: 0 }]);
    assert_eq!((plan.told.missing, plan.difference, plan.is_final), (1, amount(-6), false));
}

/// An entry of one second before midnight, whose generation is of one second after.
#[test]
fn an_entry_without_an_id_counts_on_the_day_of_its_generation() {
    let entry = Unnamed { entry_id: 7, external_user: "u".into(), cost: amount(5), at: instant(-1) };
    let plan = plan_statement(
        &statement(vec![stated(0, "x", "u", 5)]),
        &DayBooks { unnamed: vec![entry], ..books() },
    );
    let plan = plan.unwrap();
    assert_eq!((plan.ledger, plan.difference, plan.is_final), (amount(5), PicoUsd::ZERO, true));
}

#[test]
fn what_is_young_or_older_than_the_ledger_is_left_alone() {
    let mut today = statement(vec![stated(3_600, "old", "u", 1), stated(7_300, "young", "u", 2)]);
    today.fetched_at = instant(14_400);
    let plan = plan_statement(&today, &books()).unwrap();
    assert_eq!(plan.steps, [StatementStep::BookUnattributed { generation: 0 }]);
    assert_eq!((plan.told.young, plan.difference, plan.is_final), (1, amount(2), false));

    // Nor is a call settled, or a cost corrected, that its answer may still tell.
    let young = &today.generations[1];
    let open = OpenGeneration { call_id: "c".into(), generation_id: young.generation_id.clone() };
    let old = BookedGeneration {
        generation_id: today.generations[0].generation_id.clone(),
        cost: amount(1),
        on_this_day: true,
    };
    let booked = BookedGeneration { generation_id: young.generation_id.clone(), ..old.clone() };
    for known in [
        DayBooks { open: vec![open], booked: vec![old.clone()], ledger: amount(1), ..books() },
        DayBooks { booked: vec![old, booked], ledger: amount(2), ..books() },
    ] {
        let plan = plan_statement(&today, &known).unwrap();
        assert_eq!((plan.steps.len(), plan.told.young, plan.is_final), (0, 1, false), "{plan:?}");
    }

    let began = DayBooks { began_at: Some(instant(5_000)), ..books() };
    let plan = plan_statement(&statement(vec![stated(4_999, "x", "u", 1)]), &began).unwrap();
    assert_eq!((plan.steps.len(), plan.told.before, plan.bill), (0, 1, PicoUsd::ZERO));
}

#[test]
fn an_orphan_is_void_once_every_day_it_could_stand_in_is_final() {
    let void = |second: i64, previous_is_final: bool, hours: i64| {
        let books = DayBooks { orphans: vec![orphan(second, "o", "u")], previous_is_final, ..books() };
        let mut nothing = statement(vec![]);
        nothing.fetched_at = instant(hours * 3_600);
        let plan = plan_statement(&nothing, &books).unwrap();
        (!plan.steps.is_empty(), plan.told.orphans)
    };
    assert_eq!(void(50_000, false, 72), (true, 0));
    assert_eq!(void(50_000, false, 71), (false, 1), "not late enough");
    assert_eq!(void(10, false, 72), (false, 1), "it may stand in the day before");
    assert_eq!(void(10, true, 72), (true, 0));
    assert_eq!(void(86_000, true, 72), (false, 1), "it may stand in the day after");
    assert_eq!(void(-600, true, 72), (true, 0), "of the day before, whose statement has been read");
    // A day whose sums do not agree proves nothing.
    let books = DayBooks { orphans: vec![orphan(50_000, "o", "u")], ledger: amount(1), ..books() };
    assert_eq!(plan_statement(&statement(vec![]), &books).unwrap().steps, []);
}

#[test]
fn what_is_no_whole_statement_of_a_day_is_refused() {
    let refused = |change: &dyn Fn(&mut Statement)| {
        let mut statement = statement(vec![stated(1, "x", "u", 1), stated(2, "y", "u", 1)]);
        change(&mut statement);
        plan_statement(&statement, &books()).unwrap_err()
    };
    assert!(matches!(refused(&|it| it.complete = false), StatementError::Incomplete { .. }));
    assert!(matches!(refused(&|it| it.key_hashes.clear()), StatementError::NoKey));
    assert!(matches!(refused(&|it| it.fetched_at = instant(-1)), StatementError::TooEarly { .. }));
    assert!(matches!(
        refused(&|it| it.generations[1] = it.generations[0].clone()),
        StatementError::Twice { .. }
    ));
    assert!(matches!(refused(&|it| it.generations[1].at = instant(3)), StatementError::Generation { .. }));
    assert!(matches!(
        refused(&|it| it.generations[1] = stated(86_400, "x", "u", 1)),
        StatementError::Generation { .. }
    ));
    assert!(matches!(
        refused(&|it| it.generations[1].generation_id.clear()),
        StatementError::Generation { .. }
    ));
}

#[test]
fn a_statement_is_written_as_it_is_read() {
    let statement = statement(vec![stated(1, "x", "u", 15)]);
    let text = serde_json::to_string(&statement).unwrap();
    assert!(text.contains(r#""cost":"15e-12""#), "{text}");
    assert_eq!(serde_json::from_str::<Statement>(&text).unwrap(), statement);
    assert!(serde_json::from_str::<Statement>(&text.replace("15e-12", "-1")).is_err());
}

/// Does to books made of plain data what a plan says.
fn applied(books: &DayBooks, statement: &Statement, plan: &StatementPlan) -> DayBooks {
    let mut books = books.clone();
    let book = |books: &mut DayBooks, generation: usize| {
        let stated = &statement.generations[generation];
        let known = books.booked.iter().any(|one| one.generation_id == stated.generation_id);
        assert!(!known, "{} has two settling entries", stated.generation_id);
        books.booked.push(BookedGeneration {
            generation_id: stated.generation_id.clone(),
            cost: stated.cost.amount,
            on_this_day: true,
        });
        stated.cost.amount
    };
    let add = |sum: &mut PicoUsd, more: PicoUsd| *sum = sum.checked_add(more).unwrap();
    for step in &plan.steps {
        match step {
            StatementStep::Settle { call_id, generation } => {
                let cost = book(&mut books, *generation);
                books.open.retain(|open| open.call_id != *call_id);
                add(&mut books.ledger, cost);
            }
            StatementStep::SettleOrphan { call_id, generation } => {
                let cost = book(&mut books, *generation);
                let place = books.orphans.iter().position(|orphan| orphan.call_id == *call_id).unwrap();
                let orphan = books.orphans.remove(place);
                assert_eq!(orphan.external_user, statement.generations[*generation].external_user);
                add(&mut books.ledger, cost);
            }
            StatementStep::Recognise { entry_id, generation } => {
                book(&mut books, *generation);
                let place = books.unnamed.iter().position(|entry| entry.entry_id == *entry_id).unwrap();
                let entry = books.unnamed.remove(place);
                assert_eq!(entry.cost, statement.generations[*generation].cost.amount);
            }
            StatementStep::BookUnattributed { generation } => {
                let cost = book(&mut books, *generation);
                add(&mut books.unattributed, cost);
            }
            StatementStep::Correct { generation, difference } => {
                let id = &statement.generations[*generation].generation_id;
                let booked = books.booked.iter_mut().find(|one| one.generation_id == *id).unwrap();
                add(&mut booked.cost, *difference);
                add(&mut books.ledger, *difference);
            }
            StatementStep::Void { call_id } => {
                books.orphans.retain(|orphan| orphan.call_id != *call_id);
            }
        }
    }
    books
}

/// A generation's place in the world: its second, user, cost, and what the ledger knows of it.
type Made = (i64, u8, i64, u8);

/// The statement and the books of calls that went every way there is.
fn world(made: &[Made]) -> (Statement, DayBooks) {
    let (mut generations, mut books) = (Vec::new(), books());
    for (number, (second, user, pico, fate)) in made.iter().enumerate() {
        let (user, name) = (format!("user {user}"), number.to_string());
        let generation = stated(*second, &name, &user, *pico);
        let generation_id = generation.generation_id.clone();
        let booked =
            |cost| BookedGeneration { generation_id: generation_id.clone(), cost, on_this_day: true };
        let mut add = |pico: i64| books.ledger = books.ledger.checked_add(amount(pico)).unwrap();
        match fate {
            0 => {
                add(*pico);
                books.booked.push(booked(amount(*pico)));
            }
            1 => {
                add(3);
                books.booked.push(booked(amount(3)));
            }
            2 => books.open.push(OpenGeneration { call_id: name, generation_id }),
            3 => books.orphans.push(orphan(*second - 1, &name, &user)),
            4 => {
                add(*pico);
                let entry_id = i64::try_from(number).unwrap();
                let (cost, at) = (amount(*pico), instant(*second));
                books.unnamed.push(Unnamed { entry_id, external_user: user, cost, at });
            }
            // An orphan that was never billed.
            5 => {
                books.orphans.push(orphan(*second, &name, &user));
                continue;
            }
            _ => {}
        }
        generations.push(generation);
    }
    (statement(generations), books)
}

proptest! {
    /// Whatever way calls went: after one plan all that is booked is the bill, no generation has two settling entries, nobody
    /// pays for somebody else's, and a second plan has nothing to do.
    #[test]
    fn all_that_is_booked_is_the_bill(made in proptest::collection::vec((3_600_i64..80_000, 0_u8..3, 0_i64..50, 0_u8..7), 0..40)) {
        let (statement, books) = world(&made);
        let plan = plan_statement(&statement, &books).unwrap();
        let bill: i64 = statement.generations.iter().map(|one| one.cost.amount.pico()).sum();
        prop_assert_eq!(plan.bill.pico(), bill);
        prop_assert_eq!((plan.difference, plan.is_final), (PicoUsd::ZERO, true));
        let after = applied(&books, &statement, &plan);
        prop_assert_eq!(after.ledger.checked_add(after.unattributed), Ok(plan.bill));
        prop_assert_eq!((after.ledger, after.unattributed), (plan.ledger, plan.unattributed));
        let ids: BTreeSet<&str> = after.booked.iter().map(|one| one.generation_id.as_str()).collect();
        prop_assert_eq!(ids.len(), statement.generations.len());
        let again = plan_statement(&statement, &after).unwrap();
        prop_assert_eq!(&again.steps, &[]);
        prop_assert_eq!((again.bill, again.ledger, again.unattributed), (plan.bill, plan.ledger, plan.unattributed));
    }

    /// A statement that lags, then a whole one: the same sums as the whole one alone.
    #[test]
    fn a_statement_that_lags_is_caught_up_with(
        made in proptest::collection::vec((3_600_i64..80_000, 0_u8..3, 0_i64..50, 0_u8..7), 0..30),
        known in 0_usize..30,
    ) {
        let (whole, books) = world(&made);
        let mut partial = whole.clone();
        partial.generations.truncate(known);
        partial.fetched_at = instant(30 * 3_600);
        let plan = plan_statement(&partial, &books).unwrap();
        prop_assert!(!plan.is_final);
        let after = applied(&books, &partial, &plan);
        let plan = plan_statement(&whole, &after).unwrap();
        let after = applied(&after, &whole, &plan);
        prop_assert_eq!(after.ledger.checked_add(after.unattributed), Ok(plan.bill));
        prop_assert!(plan.is_final);
    }
}
