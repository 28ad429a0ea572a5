//! The loads time what they say they time.

use std::time::Duration;

use openrouter_sim::{Knobs, Options, Simulator};
use tokio::time::Instant;

use super::{Calls, Streamed, at_rate, saturate, stream};
use crate::plan::Streams;
use crate::process::Core;
use crate::target::{Ground, Target, direct};

const PAUSE_MS: u64 = 200;
const PAUSE: Duration = Duration::from_millis(PAUSE_MS);

async fn simulator_and_target(knobs: Knobs) -> (Simulator, Target) {
    let simulator = Simulator::start(Options { knobs, ..Options::default() }).await.unwrap();
    let ground = Ground { simulator: &simulator, folder: "/nowhere".as_ref(), core: Core(None) };
    let target = direct::start(&ground).unwrap();
    (simulator, target)
}

#[tokio::test]
async fn a_fixed_rate_waits_for_no_answer() {
    let knobs = Knobs { head_delay_ms: Some(PAUSE_MS), ..Knobs::default() };
    let (simulator, target) = simulator_and_target(knobs).await;
    let (mut calls, began) = (Calls::default(), Instant::now());
    at_rate(&target, 100, PAUSE, &mut calls).await;
    assert_eq!((calls.done, calls.errors.count), (20, 0));
    assert!(u128::from(calls.latency.percentiles().p50_us) >= PAUSE.as_micros());
    // One after the other they would have taken 20 pauses.
    assert!(began.elapsed() < PAUSE * 10, "{:?}", began.elapsed());
    simulator.stop().await;
}

#[tokio::test]
async fn what_a_call_waits_for_its_turn_is_in_its_time() {
    let (simulator, target) = simulator_and_target(Knobs::default()).await;
    let mut calls = Calls::default();
    // The thread that all share stands still, as a caller on a machine that is busy does.
    let (load, stall) = (at_rate(&target, 100, PAUSE, &mut calls), async { std::thread::sleep(PAUSE) });
    tokio::join!(load, stall);
    assert_eq!(calls.done, 20);
    let told = calls.latency.percentiles();
    assert!(u128::from(told.p50_us) >= PAUSE.as_micros() / 4, "{told:?}");
    simulator.stop().await;
}

#[tokio::test]
async fn a_chunk_is_timed_from_the_moment_when_it_was_sent() {
    let knobs = Knobs { first_chunk_delay_ms: Some(PAUSE_MS), ..Streams::of(5, 10, 10).knobs() };
    let (simulator, target) = simulator_and_target(knobs).await;
    let mut streamed = Streamed::default();
    stream(&target, Streams::of(5, 10, 10), &mut streamed).await;
    let (first, chunks) = (streamed.first_chunk.percentiles(), streamed.chunk_delay.percentiles());
    assert_eq!((first.samples, chunks.samples, streamed.without_usage), (5, 250, 0));
    assert!(u128::from(first.p50_us) >= PAUSE.as_micros(), "{first:?}");
    // The pauses before a chunk are no delay of it.
    assert!(u128::from(chunks.p50_us) < PAUSE.as_micros() / 4, "{chunks:?}");
    simulator.stop().await;
}

#[tokio::test]
async fn refusals_and_missing_usage_are_told() {
    let knobs = Knobs { usage: Some(openrouter_sim::UsageKnob::None), ..Knobs::default() };
    let (simulator, target) = simulator_and_target(knobs).await;
    let mut streamed = Streamed::default();
    stream(&target, Streams::of(3, 1, 1), &mut streamed).await;
    assert_eq!((streamed.without_usage, streamed.errors.count), (3, 0));

    simulator.set_knobs(Knobs { error: Some("502".to_owned()), ..Knobs::default() });
    let mut calls = Calls::default();
    saturate(&target, 2, Duration::from_millis(50), &mut calls).await;
    assert_eq!(calls.done, 0);
    assert!(calls.errors.count > 0);
    assert_eq!(calls.errors.first.as_deref(), Some("status 502 Bad Gateway"));
    simulator.stop().await;
}
