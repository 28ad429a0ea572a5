//! What is measured, while it comes in and as it is told. Times are whole microseconds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::Failure;

/// Times as they come in, to three digits.
#[derive(Clone, Debug)]
pub(crate) struct Times(Histogram<u64>);

/// Times as they are told.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) samples: u64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

/// Calls that failed.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    /// What the first of them said.
    pub(crate) first: Option<String>,
}

/// What a target did while its callers asked without a pause.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Saturation {
    pub(crate) calls: u64,
    pub(crate) wall_us: u64,
    /// Processor time of the target.
    pub(crate) cpu_us: u64,
    pub(crate) latency: Percentiles,
    pub(crate) errors: Errors,
}

/// Calls at a fixed rate, timed from the moment when they were due.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct AtRate {
    pub(crate) calls_per_second: u32,
    pub(crate) latency: Percentiles,
    pub(crate) errors: Errors,
}

/// Streams at once.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Streaming {
    pub(crate) streams: usize,
    /// From the moment when the stream was due to its first chunk.
    pub(crate) first_chunk: Percentiles,
    /// Of each chunk between the simulator and the caller.
    pub(crate) chunk_delay: Percentiles,
    /// Processor time of the target, mean of the turns.
    pub(crate) cpu_us: u64,
    /// Resident memory of the target at its highest.
    pub(crate) resident_kib: u64,
    /// Streams that ended well without telling their usage.
    pub(crate) without_usage: u64,
    pub(crate) errors: Errors,
}

/// Resident memory of a target.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) idle_kib: u64,
    pub(crate) afterwards_kib: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_max(Self::LONGEST_NS, Self::DIGITS).unwrap_or_else(|_| Self::smallest()))
    }
}

impl Times {
    /// Longer ones count as this long; calls have failed before.
    const LONGEST_NS: u64 = 100_000_000_000;
    const DIGITS: u8 = 3;

    fn smallest() -> Histogram<u64> {
        unreachable!("the limits are constants that a histogram takes")
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.add_ns(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add_ns(&mut self, time_ns: u64) {
        self.0.saturating_record(time_ns);
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        const NS_A_US: u64 = 1_000;
        let at = |share: f64| self.0.value_at_quantile(share) / NS_A_US;
        Percentiles {
            samples: self.0.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p99_us: at(0.99),
            max_us: self.0.max() / NS_A_US,
        }
    }
}

impl Errors {
    pub(crate) fn add(&mut self, failure: &Failure) {
        self.count += 1;
        self.first.get_or_insert_with(|| failure.to_string());
    }
}

impl Saturation {
    pub(crate) const fn per_second(&self) -> Option<u64> {
        rate(self.calls, self.wall_us)
    }

    /// `None` where the target has no process.
    pub(crate) const fn per_cpu_second(&self) -> Option<u64> {
        rate(self.calls, self.cpu_us)
    }
}

const fn rate(calls: u64, time_us: u64) -> Option<u64> {
    const US_A_SECOND: u64 = 1_000_000;
    (calls * US_A_SECOND).checked_div(time_us)
}

/// Whole microseconds.
pub(crate) fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
