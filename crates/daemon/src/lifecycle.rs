//! From nothing to serving and back: start, run, drain.

use std::net::SocketAddr;
use std::time::Duration;

use ledger::{Ledger, LedgerOptions, MonthlyLimit, OpenError, OrganisationFacts, Stopped};
use metering::{BillingZone, Clock, OrgId, UnknownZone};
use open_webui::{IdentitySource, Sessions};
use openrouter::hash_of_key;
use secrecy::ExposeSecret as _;
use settings::{Settings, SpendingLimit};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use upkeep::{Alarms, Upkeep};

use crate::descriptors;
use crate::listener::{self, Ends, Room};

/// How long calls under way may take to end after the program was told to stop. Docker's `stop_grace_period` must
/// be longer.
const DRAIN: Duration = Duration::from_mins(2);

/// How long the rest may take after that: writing down how the last calls ended.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// Connections to the proxy for each call that may be under way: clients keep some that are idle.
const CONNECTIONS_A_CALL: usize = 4;

/// Connections to the usage API.
const USAGE_CONNECTIONS: usize = 1_024;

/// Descriptors for everything but connections to the proxy and calls: the database, questions, the usage API.
const OTHER_DESCRIPTORS: usize = 2_048;

/// Between two looks at idle connections to `OpenRouter`.
const TIDY_INTERVAL: Duration = Duration::from_secs(10);

/// A sidecar that serves.
#[derive(Debug)]
pub struct Daemon {
    proxy_address: SocketAddr,
    usage_address: SocketAddr,
    /// Cancelled when the program is told to stop: nothing new is taken in.
    stopping: CancellationToken,
    /// Cancelled when calls under way must end.
    give_up: CancellationToken,
    calls: TaskTracker,
    /// The connections to the proxy, with the loop that accepts them.
    clients: TaskTracker,
    others: TaskTracker,
    writer: TaskTracker,
    writer_stopped: oneshot::Receiver<Stopped>,
}

/// What the parts of a sidecar are made from.
struct Parts {
    settings: Settings,
    ledger: Ledger,
    upstream: openrouter::Client,
    clock: Clock,
    alarms: Alarms,
}

/// How a sidecar came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As it was told to.
    Stopped,
    /// Without its ledger, by a failed fsync or a fault: the process must end at once, the restart heals.
    LedgerLost,
}

/// Why a sidecar could not start. Nothing was changed that a later start would not find and continue.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// The billing zone.
    #[error("BILLING_TIMEZONE: {0}")]
    Zone(#[from] UnknownZone),
    /// The way to `OpenRouter`.
    #[error(transparent)]
    Upstream(#[from] openrouter::ClientError),
    /// The way to Open `WebUI`.
    #[error("cannot set up the way to Open WebUI: {0}")]
    Sessions(#[from] reqwest::Error),
    /// A listener.
    #[error("{name}: cannot listen on {address}")]
    Listen {
        /// The setting.
        name: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The ledger could not be written.
    #[error(transparent)]
    Write(#[from] ledger::WriteError),
}

impl Daemon {
    /// Opens the ledger, resumes what the last process left, and starts serving.
    ///
    /// # Errors
    /// [`StartError`]; nothing is served then.
    pub async fn start(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        choose_tls_provider();
        let connections = settings.calls_at_once * CONNECTIONS_A_CALL;
        descriptors::allow(connections + settings.calls_at_once + OTHER_DESCRIPTORS);
        let writer = TaskTracker::new();
        let (ledger, writer_stopped) = open_ledger(&settings, &clock, &writer).await?;
        let proxy_listener = bind("PROXY_LISTEN", settings.proxy_listen).await?;
        let usage_listener = bind("USAGE_LISTEN", settings.usage_listen).await?;
        let (proxy_address, usage_address) = (address_of(&proxy_listener), address_of(&usage_listener));
        let upstream = openrouter::Client::new(openrouter::ClientOptions {
            base_url: settings.openrouter_host.clone(),
            app_url: settings.app_url.clone(),
            app_title: settings.app_title.clone(),
        })?;
        let sessions = settings.openwebui_url.as_deref().map(Sessions::new).transpose()?;
        tell_what_is_missing(&settings, &ledger);
        let daemon = Self {
            proxy_address: proxy_address.unwrap_or(settings.proxy_listen),
            usage_address: usage_address.unwrap_or(settings.usage_listen),
            stopping: CancellationToken::new(),
            give_up: CancellationToken::new(),
            calls: TaskTracker::new(),
            clients: TaskTracker::new(),
            others: TaskTracker::new(),
            writer,
            writer_stopped,
        };
        let parts = Parts { settings, ledger, upstream, clock, alarms: Alarms::default() };
        daemon.start_upkeep(&parts);
        daemon.keep_tidy(parts.upstream.clone());
        daemon.start_usage_api(usage_listener, &parts, sessions);
        daemon.start_road(proxy_listener, parts);
        tracing::info!(proxy = %daemon.proxy_address, usage = %daemon.usage_address, "ready");
        Ok(daemon)
    }

    /// Where the proxy listens.
    #[must_use]
    pub const fn proxy_address(&self) -> SocketAddr {
        self.proxy_address
    }

    /// Where the usage API listens.
    #[must_use]
    pub const fn usage_address(&self) -> SocketAddr {
        self.usage_address
    }

    /// Serves until `stop` or until the ledger's writer ends, then drains.
    pub async fn run_until(mut self, stop: impl Future<Output = ()>) -> Ended {
        tokio::select! {
            () = stop => {}
            stopped = &mut self.writer_stopped => return lost(stopped.ok()),
        }
        self.drain().await;
        match self.writer_stopped.try_recv() {
            Ok(Stopped::FailedFsync) => lost(Some(Stopped::FailedFsync)),
            _ => Ended::Stopped,
        }
    }

    /// Takes nothing new in, lets calls under way end, and writes down the rest.
    async fn drain(&self) {
        self.stopping.cancel();
        self.calls.close();
        self.clients.close();
        let under_way = self.calls.len();
        tracing::info!(under_way, "stopping; calls under way may end");
        let in_peace = async {
            self.calls.wait().await;
            self.clients.wait().await;
        };
        if tokio::time::timeout(DRAIN, in_peace).await.is_err() {
            tracing::warn!(
                under_way = self.calls.len(),
                "calls under way are ended; `/generation` will price them"
            );
        }
        self.give_up.cancel();
        self.others.close();
        self.writer.close();
        let all = async {
            self.calls.wait().await;
            self.clients.wait().await;
            self.others.wait().await;
            self.writer.wait().await;
        };
        if tokio::time::timeout(LAST_WRITES, all).await.is_err() {
            tracing::warn!("not everything ended in time; the next start resumes it");
        }
        tracing::info!("stopped");
    }

    fn start_upkeep(&self, parts: &Parts) {
        let (ledger, upstream, clock) = (parts.ledger.clone(), parts.upstream.clone(), parts.clock.clone());
        let upkeep = Upkeep::new(ledger, upstream, clock);
        let (poll_interval, alarms) = (parts.settings.poll_interval, parts.alarms.clone());
        let stop = self.stopping.clone();
        self.others.spawn(async move {
            if let Err(error) = upkeep.run(poll_interval, &alarms, stop).await {
                tracing::error!(%error, "upkeep has ended; restart the program");
            }
        });
    }

    /// Lets go of connections to `OpenRouter` that nobody has used for long.
    fn keep_tidy(&self, upstream: openrouter::Client) {
        let stop = self.stopping.clone();
        self.others.spawn(async move {
            while tokio::time::timeout(TIDY_INTERVAL, stop.cancelled()).await.is_err() {
                upstream.tidy();
            }
        });
    }

    fn start_usage_api(&self, listener: TcpListener, parts: &Parts, sessions: Option<Sessions>) {
        let router = usage_api::router(usage_api::UsageApiOptions {
            ledger: parts.ledger.clone(),
            admin_token: parts.settings.usage_admin_token.clone(),
            sessions,
            show_cost: parts.settings.show_cost,
            currency: usage_api::Currency {
                code: parts.settings.currency.code.clone(),
                per_usd: parts.settings.currency.per_usd.clone(),
            },
            frame_ancestors: parts.settings.frame_ancestors.clone(),
            clock: parts.clock.clone(),
            stopping: self.stopping.clone(),
            poll_interval: parts.settings.poll_interval,
        });
        let reader = parts.ledger.reader().clone();
        let org = parts.ledger.organisation().id.clone();
        self.others.spawn(async move {
            if let Err(error) = reader.warm(&org).await {
                tracing::debug!(%error, "the daily rows could not be read beforehand");
            }
        });
        // The health check must be heard while calls drain, so this listener stops with them, not before.
        let ends = Ends { stop: self.give_up.clone(), give_up: self.give_up.clone() };
        let room = Room { connections: USAGE_CONNECTIONS, tasks: self.others.clone() };
        self.others.spawn(listener::serve(listener, router, ends, room));
    }

    fn start_road(&self, listener: TcpListener, parts: Parts) {
        let Parts { settings, ledger, upstream, clock, alarms } = parts;
        let identity = match settings.openwebui_user_jwt_secret {
            Some(secret) => IdentitySource::SignedHeader(secret),
            None => IdentitySource::PlainHeaders,
        };
        let connections = settings.calls_at_once * CONNECTIONS_A_CALL;
        let router = proxy::router(proxy::RoadOptions {
            ledger,
            upstream,
            identity,
            token: settings.usage_proxy_token,
            key_is_pinned: settings.openrouter_api_key.is_some(),
            calls_at_once: settings.calls_at_once,
            clock,
            tasks: self.calls.clone(),
            give_up: self.give_up.clone(),
            call_left_open: alarms.call_left_open,
            key_learned: alarms.poll_now,
        });
        let ends = Ends { stop: self.stopping.clone(), give_up: self.give_up.clone() };
        let room = Room { connections, tasks: self.clients.clone() };
        self.clients.spawn(listener::serve(listener, router, ends, room));
    }
}

/// Chooses who does the cryptography of TLS, for the whole process. Every HTTP client needs that, even one that
/// only speaks to its own machine.
pub fn choose_tls_provider() {
    // Only the first call in a process chooses; later ones find it chosen.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The ledger's writer has ended although nobody stopped it.
fn lost(why: Option<Stopped>) -> Ended {
    tracing::error!(
        ?why,
        "what was written may not have reached the disk; the program ends, the restart heals"
    );
    Ended::LedgerLost
}

async fn bind(name: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { name, address, source })
}

/// The address with the port the system chose, where 0 was asked for.
fn address_of(listener: &TcpListener) -> Option<SocketAddr> {
    listener.local_addr().ok()
}

async fn open_ledger(
    settings: &Settings,
    clock: &Clock,
    tasks: &TaskTracker,
) -> Result<(Ledger, oneshot::Receiver<Stopped>), StartError> {
    let key = settings.openrouter_api_key.clone();
    let organisation = OrganisationFacts {
        id: settings.openrouter_external_user.clone().map(OrgId::new),
        name: settings.organization_name.clone(),
        api_key_hash: key.as_ref().map(|key| hash_of_key(key.expose_secret())),
        api_key: key,
        monthly_limit: settings.spending_limit.clone().map(|limit| match limit {
            SpendingLimit::Usd(limit) => MonthlyLimit::Usd(limit),
            SpendingLimit::Unlimited => MonthlyLimit::Unlimited,
        }),
        billing_email: None,
        zone: settings.billing_timezone.as_deref().map(BillingZone::named).transpose()?,
        now: clock.now(),
    };
    let options = LedgerOptions { path: settings.database_path.clone(), organisation, tasks: tasks.clone() };
    let (ledger, stopped) = Ledger::open(&options).await?;
    let orphans = ledger.orphan_interrupted(clock.now()).await?;
    if orphans > 0 {
        tracing::warn!(orphans, "calls of the last run died before their id was known: they may be billed");
    }
    Ok((ledger, stopped))
}

/// Everything may be missing; the log says what works without it.
fn tell_what_is_missing(settings: &Settings, ledger: &Ledger) {
    let organisation = ledger.organisation();
    let (org_id, name, zone) = (&organisation.id, &organisation.name, organisation.zone.name());
    tracing::info!(%org_id, name, zone, markup = %organisation.markup, "the organisation");
    if organisation.api_key.is_none() {
        tracing::warn!(
            "no OpenRouter key is known: calls work once somebody has typed one into Settings → Connections, \
             or OPENROUTER_API_KEY is set"
        );
    }
    if settings.usage_proxy_token.is_none() {
        tracing::warn!(
            "USAGE_PROXY_TOKEN is not set: the mAI container has to present the OpenRouter key itself"
        );
    }
    if settings.openwebui_url.is_none() {
        tracing::warn!("OPENWEBUI_URL is not set: nobody who is signed in there sees the usage");
    }
    if settings.usage_admin_token.is_none() {
        tracing::warn!("USAGE_ADMIN_TOKEN is not set: tools cannot read the usage");
    }
}
