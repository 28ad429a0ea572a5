//! What all requests share: keys, bill, log, clock and faults.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::{fmt, io};

use crate::account::external_users::Registry;
use crate::clock::MovableClock;
use crate::keyring::{ApiKey, Keyring};
use crate::money::PicoUsd;
use crate::seen::RequestLog;
use crate::truth::{Bill, Generation};
use crate::{Knobs, Options};

/// The state behind one simulator. No lock is held over an `.await`.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) clock: MovableClock,
    pub(crate) total_credits: PicoUsd,
    ids: IdSource,
    knobs: RwLock<Arc<Knobs>>,
    keyring: Mutex<Keyring>,
    bill: Mutex<Bill>,
    log: Mutex<RequestLog>,
    registry: Mutex<Registry>,
    analytics_failures: AtomicU32,
}

/// Makes ids that no other process makes.
#[derive(Debug)]
struct IdSource {
    seed: u128,
    made: AtomicU64,
}

impl World {
    pub(crate) fn new(options: &Options) -> io::Result<Self> {
        let clock = MovableClock::default();
        let now_ms = clock.now_ms();
        let bad_credits = || io::Error::new(io::ErrorKind::InvalidInput, "total_credits is not a decimal");
        Ok(Self {
            clock,
            total_credits: PicoUsd::parse(&options.total_credits).ok_or_else(bad_credits)?,
            ids: IdSource { seed: uuid::Uuid::new_v4().as_u128(), made: AtomicU64::new(0) },
            knobs: RwLock::new(Arc::new(options.knobs.clone())),
            keyring: Mutex::new(Keyring::from_options(options, now_ms)),
            bill: Mutex::new(Bill::open(options.truth_file.as_deref())?),
            log: Mutex::default(),
            registry: Mutex::default(),
            analytics_failures: AtomicU32::new(0),
        })
    }

    pub(crate) fn knobs(&self) -> Arc<Knobs> {
        Arc::clone(&self.knobs.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often the analytics have failed since the knobs were set, before this time.
    pub(crate) fn count_analytics_failure(&self) -> u32 {
        self.analytics_failures.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn set_knobs(&self, knobs: Knobs) {
        self.analytics_failures.store(0, Ordering::Relaxed);
        *self.knobs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(knobs);
    }

    pub(crate) fn keyring(&self) -> MutexGuard<'_, Keyring> {
        locked(&self.keyring)
    }

    pub(crate) fn bill(&self) -> MutexGuard<'_, Bill> {
        locked(&self.bill)
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, RequestLog> {
        locked(&self.log)
    }

    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        locked(&self.registry)
    }

    /// Twenty letters and digits.
    pub(crate) fn fresh_token(&self) -> Token {
        self.ids.token()
    }

    /// `CF-RAY`: sixteen hex digits and an airport.
    pub(crate) fn fresh_ray(&self) -> String {
        let ray = u128::from(self.ids.count()).wrapping_add(self.ids.seed) & u128::from(u64::MAX);
        format!("{ray:016x}-WAW")
    }

    /// What a key spent since `from_ms`, as far as the counters know by now.
    pub(crate) fn spent(&self, key: &ApiKey, from_ms: i64) -> Spent {
        let lag_ms = self.knobs().key_counter_lag_ms.unwrap_or(0);
        let known_until_ms = self.clock.now_ms().saturating_sub(lag_ms);
        let bill = self.bill();
        let counted = bill.generations().iter().filter(|generation| {
            generation.charge.key_hash == key.hash
                && generation.charge.created_ms >= from_ms
                && generation.charged_ms <= known_until_ms
        });
        counted.fold(Spent::default(), |spent, generation| spent.with(generation))
    }
}

/// Sums of a set of charges.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) credits: PicoUsd,
    pub(crate) byok: PicoUsd,
}

impl Spent {
    fn with(self, generation: &Generation) -> Self {
        Self {
            credits: self.credits.plus(generation.cost()),
            byok: self.byok.plus(generation.byok_pico_usd.unwrap_or_default()),
        }
    }

    /// What counts against the limit of `key`.
    pub(crate) fn against_limit(self, key: &ApiKey) -> PicoUsd {
        if key.include_byok_in_limit { self.credits.plus(self.byok) } else { self.credits }
    }
}

/// Twenty letters and digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token([u8; Token::LENGTH]);

impl Token {
    const LENGTH: usize = 20;
}

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| fmt::Write::write_char(formatter, char::from(*byte)))
    }
}

impl IdSource {
    fn count(&self) -> u64 {
        self.made.fetch_add(1, Ordering::Relaxed)
    }

    fn token(&self) -> Token {
        const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        /// An odd multiplier, so that distinct counts stay distinct before the digits are cut.
        const SPREAD: u128 = 0x2545_F491_4F6C_DD1D_9E37_79B9_7F4A_7C15;
        let mut rest = self.seed.wrapping_add(u128::from(self.count()).wrapping_mul(SPREAD));
        let mut token = [b'0'; Token::LENGTH];
        for place in &mut token {
            let letter = usize::try_from(rest % 62).unwrap_or(0);
            *place = LETTERS.get(letter).copied().unwrap_or(b'0');
            rest /= 62;
        }
        Token(token)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
