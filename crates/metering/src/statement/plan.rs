//! What a statement asks to be booked: a pure function. Every generation gets at most one step, and what is added is exactly
//! what is missing.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;

use super::{
    CLOCKS_DIFFER, DayBooks, LONGEST_BEGINNING, Orphan, SETTLING, StatedGeneration, Statement,
    StatementError, StatementPlan, StatementStep, Told,
};
use crate::money::PicoUsd;

/// Sums on the way to a plan; wide, so that no order of adding can overflow.
#[derive(Default)]
struct Sums {
    bill: i128,
    ledger: i128,
    unattributed: i128,
    corrected: i128,
    missing: i128,
}

/// A plan in the making.
struct Planning<'a> {
    statement: &'a Statement,
    books: &'a DayBooks,
    steps: Vec<StatementStep>,
    sums: Sums,
    told: Told,
    taken_entries: HashSet<i64>,
    taken_orphans: HashSet<&'a str>,
}

/// What `statement` asks to be booked beside `books`.
///
/// Nothing younger than two hours is judged. An open call is known by its generation. An entry that tells no generation is
/// recognised by its user, its cost and its time. An orphan is paired with a generation of the same user, of the model that was
/// asked for, made within 20 minutes of the admission; where several fit, in their order, as user, model and so the bill are the
/// same. One whose model is another (a router chose it) is paired where no other orphan of the user and no other generation
/// comes into question. What is left is unattributed. An orphan that is left is void once its day is final.
///
/// # Errors
/// [`StatementError`] where the statement cannot be used.
pub fn plan_statement(statement: &Statement, books: &DayBooks) -> Result<StatementPlan, StatementError> {
    statement.check()?;
    let mut planning = Planning {
        statement,
        books,
        steps: Vec::new(),
        sums: Sums {
            bill: statement.without_generation.pico().into(),
            ledger: books.ledger.pico().into(),
            unattributed: books.unattributed.pico().into(),
            ..Sums::default()
        },
        told: Told::default(),
        taken_entries: HashSet::new(),
        taken_orphans: HashSet::new(),
    };
    let unknown = planning.compare_known();
    let unknown = planning.recognise(unknown)?;
    let unknown = planning.pair_in_order(unknown);
    let unknown = planning.pair_the_only_one(unknown);
    planning.book_unattributed(&unknown);
    planning.count_missing()?;
    planning.finish()
}

impl<'a> Planning<'a> {
    fn stated(&self, generation: usize) -> Option<&'a StatedGeneration> {
        self.statement.generations.get(generation)
    }

    /// Generations that the ledger knows; answers the places of those that it does not, in the order of their instants.
    fn compare_known(&mut self) -> Vec<usize> {
        let booked: HashMap<&str, i128> = self
            .books
            .booked
            .iter()
            .map(|one| (one.generation_id.as_str(), one.cost.pico().into()))
            .collect();
        let mut open: HashMap<&str, &str> =
            self.books.open.iter().map(|one| (one.generation_id.as_str(), one.call_id.as_str())).collect();
        let judged_until = self.statement.fetched_at.checked_sub(SETTLING).unwrap_or(Timestamp::MIN);
        let mut unknown = Vec::new();
        for (generation, stated) in self.statement.generations.iter().enumerate() {
            let cost = i128::from(stated.cost.amount.pico());
            let is_young = stated.at > judged_until;
            let id = stated.generation_id.as_str();
            if let Some(booked) = booked.get(id) {
                self.sums.bill += cost;
                match cost - booked {
                    0 => {}
                    _ if is_young => self.told.young += 1,
                    difference => self.correct(generation, difference),
                }
            } else if let Some(call_id) = open.get(id).copied().filter(|_| !is_young) {
                open.remove(id);
                self.sums.bill += cost;
                self.sums.ledger += cost;
                self.steps.push(StatementStep::Settle { call_id: call_id.to_owned(), generation });
            } else if !open.contains_key(id) && self.is_before(stated.at) {
                self.told.before += 1;
            } else {
                self.sums.bill += cost;
                if is_young {
                    self.told.young += 1;
                } else {
                    unknown.push(generation);
                }
            }
        }
        unknown.sort_by_key(|place| self.stated(*place).map(|stated| (stated.at, &stated.generation_id)));
        unknown
    }

    /// Ids tell whole seconds.
    fn is_before(&self, at: Timestamp) -> bool {
        self.books.began_at.is_none_or(|began_at| at.as_second() < began_at.as_second())
    }

    fn correct(&mut self, generation: usize, difference: i128) {
        // Both are amounts, so that only a difference of more than nine million dollars does not fit: it stays and is told.
        let Ok(pico) = i64::try_from(difference) else { return };
        self.sums.ledger += difference;
        self.sums.corrected += difference;
        self.steps.push(StatementStep::Correct { generation, difference: PicoUsd::new(pico) });
    }

    /// Entries whose answers told no id: the same user, the same cost, at that time.
    fn recognise(&mut self, unknown: Vec<usize>) -> Result<Vec<usize>, StatementError> {
        let (start, end) = self.statement.bounds()?;
        let mut left = Vec::new();
        for generation in unknown {
            let entry = self.stated(generation).and_then(|stated| {
                self.books.unnamed.iter().find(|entry| {
                    !self.taken_entries.contains(&entry.entry_id)
                        && Some(entry.external_user.as_str()) == stated.external_user.as_deref()
                        && entry.cost == stated.cost.amount
                        && stated.begins_soon_after(entry.at)
                })
            });
            match entry {
                Some(entry) => {
                    self.taken_entries.insert(entry.entry_id);
                    if !(start..end).contains(&entry.at) {
                        // It counts on the day of its generation from now on.
                        self.sums.ledger += i128::from(entry.cost.pico());
                    }
                    self.steps.push(StatementStep::Recognise { entry_id: entry.entry_id, generation });
                }
                None => left.push(generation),
            }
        }
        Ok(left)
    }

    /// Orphans that are free and may have been the generation.
    fn orphans_of(&self, generation: usize) -> impl Iterator<Item = &'a Orphan> {
        let stated = self.stated(generation);
        self.books.orphans.iter().filter(move |orphan| {
            stated.is_some_and(|stated| {
                orphan.external_user.is_some()
                    && orphan.external_user == stated.external_user
                    && stated.begins_soon_after(orphan.admitted_at)
                    && !self.taken_orphans.contains(orphan.call_id.as_str())
            })
        })
    }

    fn settle_orphan(&mut self, orphan: &'a Orphan, generation: usize) {
        self.taken_orphans.insert(&orphan.call_id);
        self.sums.ledger += self.stated(generation).map_or(0, |stated| i128::from(stated.cost.amount.pico()));
        self.steps.push(StatementStep::SettleOrphan { call_id: orphan.call_id.clone(), generation });
    }

    /// The oldest orphan of the same user and model for each generation.
    fn pair_in_order(&mut self, unknown: Vec<usize>) -> Vec<usize> {
        let mut left = Vec::new();
        for generation in unknown {
            let model = self.stated(generation).and_then(|stated| stated.model.as_deref());
            let oldest = self
                .orphans_of(generation)
                .filter(|orphan| orphan.asked_for(model))
                .min_by_key(|orphan| (orphan.admitted_at, &orphan.call_id));
            match oldest {
                Some(orphan) => self.settle_orphan(orphan, generation),
                None => left.push(generation),
            }
        }
        left
    }

    /// The one orphan for the one generation, whatever the model.
    fn pair_the_only_one(&mut self, unknown: Vec<usize>) -> Vec<usize> {
        let mut rivals: HashMap<&str, usize> = HashMap::new();
        for generation in &unknown {
            for orphan in self.orphans_of(*generation) {
                *rivals.entry(&orphan.call_id).or_default() += 1;
            }
        }
        let mut left = Vec::new();
        for generation in unknown {
            let mut fitting = self.orphans_of(generation);
            let (first, second) = (fitting.next(), fitting.next());
            drop(fitting);
            match first {
                Some(orphan) if second.is_none() && rivals.get(orphan.call_id.as_str()) == Some(&1) => {
                    self.settle_orphan(orphan, generation);
                }
                _ => left.push(generation),
            }
        }
        left
    }

    fn book_unattributed(&mut self, unknown: &[usize]) {
        for generation in unknown {
            let Some(stated) = self.stated(*generation) else { continue };
            self.sums.unattributed += i128::from(stated.cost.amount.pico());
            self.steps.push(StatementStep::BookUnattributed { generation: *generation });
        }
    }

    /// What the ledger has and the statement does not. What was free of charge may be missing.
    fn count_missing(&mut self) -> Result<(), StatementError> {
        let (start, end) = self.statement.bounds()?;
        let stated: HashSet<&str> =
            self.statement.generations.iter().map(|stated| stated.generation_id.as_str()).collect();
        let named = self.books.booked.iter().filter(|one| one.on_this_day);
        let named = named.filter(|one| !stated.contains(one.generation_id.as_str())).map(|one| one.cost);
        let unnamed = self.books.unnamed.iter().filter(|entry| (start..end).contains(&entry.at));
        let unnamed = unnamed.filter(|entry| !self.taken_entries.contains(&entry.entry_id));
        for cost in named.chain(unnamed.map(|entry| entry.cost)).filter(|cost| *cost != PicoUsd::ZERO) {
            self.told.missing += 1;
            self.sums.missing += i128::from(cost.pico());
        }
        Ok(())
    }

    fn finish(mut self) -> Result<StatementPlan, StatementError> {
        let difference = self.sums.bill - self.sums.ledger - self.sums.unattributed;
        let is_final = difference == 0 && self.told.young == 0 && self.statement.is_late_enough()?;
        self.end_orphans(is_final)?;
        let day = self.statement.day;
        // Sums beyond nine million dollars a day are no statement.
        let amount =
            |sum: i128| i64::try_from(sum).map(PicoUsd::new).map_err(|_| StatementError::Day { day });
        self.told.missing_cost = amount(self.sums.missing)?;
        Ok(StatementPlan {
            steps: self.steps,
            bill: amount(self.sums.bill)?,
            ledger: amount(self.sums.ledger)?,
            unattributed: amount(self.sums.unattributed)?,
            corrected: amount(self.sums.corrected)?,
            difference: amount(difference)?,
            is_final,
            told: self.told,
        })
    }

    /// An orphan of a final day is proved unbilled where all statements that it could stand in are final.
    fn end_orphans(&mut self, is_final: bool) -> Result<(), StatementError> {
        let (start, end) = self.statement.bounds()?;
        for orphan in &self.books.orphans {
            if self.taken_orphans.contains(orphan.call_id.as_str()) {
                continue;
            }
            let first = orphan.admitted_at.checked_sub(CLOCKS_DIFFER).unwrap_or(Timestamp::MIN);
            let last = orphan.admitted_at.checked_add(LONGEST_BEGINNING).unwrap_or(Timestamp::MAX);
            let ends_here = (start..end).contains(&last);
            if ends_here && is_final && (first >= start || self.books.previous_is_final) {
                self.steps.push(StatementStep::Void { call_id: orphan.call_id.clone() });
            } else if (start..end).contains(&orphan.admitted_at) {
                self.told.orphans += 1;
            }
        }
        Ok(())
    }
}
