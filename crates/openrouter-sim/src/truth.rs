//! The bill: what was really charged, append-only.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::money::PicoUsd;

/// One line of the bill.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Charge {
    /// `gen-…`, as in the head of the answer.
    pub generation_id: String,
    /// The path below `/api/v1/`, as in `chat/completions`.
    pub endpoint: String,
    /// The `user` of the request.
    pub external_user: Option<String>,
    /// The model as the answer names it.
    pub model: String,
    /// The charge in USD, plain decimal text.
    pub cost: String,
    /// The charge in 1e-12 USD.
    pub cost_pico_usd: i64,
    /// Prompt tokens, cached ones included.
    pub prompt_tokens: i64,
    /// Completion tokens that were made, reasoning included.
    pub completion_tokens: i64,
    /// Reasoning tokens.
    pub reasoning_tokens: i64,
    /// Prompt tokens read from the cache.
    pub cached_tokens: i64,
    /// Whether the client left before the end of a stream.
    pub cancelled: bool,
    /// Whether the answer was a stream.
    pub streamed: bool,
    /// When the generation began, on the simulator's clock: the second of its id.
    pub created_ms: i64,
    /// SHA-256 of the key that asked, lower-case hex.
    pub key_hash: String,
    /// `req-…`.
    pub request_id: String,
}

/// A charge, and what else `GET /generation`, `/activity` and the analytics tell of it.
#[derive(Debug)]
pub(crate) struct Generation {
    pub(crate) charge: Charge,
    pub(crate) charged_ms: i64,
    /// Absent where the client left.
    pub(crate) finish_reason: Option<&'static str>,
    pub(crate) api_type: &'static str,
    pub(crate) provider: String,
    pub(crate) dated_slug: String,
    /// What the provider's own key paid; `None` where it did not.
    pub(crate) byok_pico_usd: Option<PicoUsd>,
    pub(crate) first_token_ms: i64,
    pub(crate) total_ms: i64,
    pub(crate) user_agent: Option<String>,
    pub(crate) http_referer: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) settle_after_ms: i64,
    pub(crate) misses_left: AtomicU32,
    /// The fault that the call asked for its own record.
    pub(crate) lookup_error: Option<String>,
}

impl Generation {
    pub(crate) fn cost(&self) -> PicoUsd {
        PicoUsd(self.charge.cost_pico_usd.into())
    }

    /// What the bill of an earlier process still tells.
    fn read_back(charge: Charge) -> Self {
        let model = catalogue::find(&charge.model);
        Self {
            charged_ms: charge.created_ms,
            finish_reason: (!charge.cancelled).then_some("stop"),
            api_type: api_type(&charge.endpoint),
            provider: model.map_or("ExampleHost", |model| model.provider).to_owned(),
            dated_slug: model.map_or(charge.model.as_str(), |model| model.dated_slug).to_owned(),
            byok_pico_usd: None,
            first_token_ms: 0,
            total_ms: 0,
            user_agent: None,
            http_referer: None,
            session_id: None,
            settle_after_ms: 0,
            misses_left: AtomicU32::new(0),
            lookup_error: None,
            charge,
        }
    }
}

/// The word of `GET /generation` for an endpoint.
pub(crate) fn api_type(endpoint: &str) -> &'static str {
    match endpoint {
        "embeddings" => "embeddings",
        "rerank" => "rerank",
        "images" => "image",
        "audio/speech" => "tts",
        "audio/transcriptions" => "stt",
        _ => "completions",
    }
}

/// All charges in order, in memory and in the truth file. It grows without bound, as a bill does.
#[derive(Debug, Default)]
pub(crate) struct Bill {
    generations: Vec<Arc<Generation>>,
    by_id: HashMap<String, Arc<Generation>>,
    file: Option<File>,
}

impl Bill {
    /// Opens the truth file and reads back what is in it.
    pub(crate) fn open(path: Option<&Path>) -> io::Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let file = File::options().create(true).append(true).read(true).open(path)?;
        let mut bill = Self::default();
        for line in BufReader::new(&file).lines() {
            let charge: Charge = serde_json::from_str(&line?)?;
            bill.remember(Generation::read_back(charge));
        }
        bill.file = Some(file);
        Ok(bill)
    }

    /// Enters a charge: in the file first, and handed to the operating system before this returns, so
    /// that no client sees the end of an answer that the bill does not know.
    pub(crate) fn enter(&mut self, generation: Generation) -> io::Result<()> {
        let written = match &mut self.file {
            None => Ok(()),
            Some(file) => {
                let mut line = serde_json::to_vec(&generation.charge)?;
                line.push(b'\n');
                file.write_all(&line).and_then(|()| file.flush())
            }
        };
        self.remember(generation);
        written
    }

    pub(crate) fn generations(&self) -> &[Arc<Generation>] {
        &self.generations
    }

    /// The latest generation of this id: a forced duplicate hides the earlier one.
    pub(crate) fn find(&self, generation_id: &str) -> Option<Arc<Generation>> {
        self.by_id.get(generation_id).cloned()
    }

    pub(crate) fn charges(&self) -> Vec<Charge> {
        self.generations.iter().map(|generation| generation.charge.clone()).collect()
    }

    fn remember(&mut self, generation: Generation) {
        let generation = Arc::new(generation);
        self.by_id.insert(generation.charge.generation_id.clone(), Arc::clone(&generation));
        self.generations.push(generation);
    }
}
