//! The price list as last told.

use crate::LedgerReader;
use crate::error::ReadError;

/// What `OpenRouter` asks for a model, in US dollars; decimal text as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPrice {
    /// The name it is asked for by.
    pub model: String,
    /// The name people read.
    pub name: String,
    /// For a token that is sent; `None` where not told or not fixed.
    pub prompt_usd: Option<String>,
    /// For a token that comes back.
    pub completion_usd: Option<String>,
    /// For a request, beside its tokens.
    pub request_usd: Option<String>,
    /// Tokens that fit.
    pub context_length: Option<i64>,
}

/// The price list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PriceList {
    /// When it was told, Unix milliseconds.
    pub fetched_at_ms: i64,
    /// By name.
    pub prices: Vec<ModelPrice>,
}

impl LedgerReader {
    /// When the price list was told, Unix milliseconds; `None` before the first one.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn prices_fetched_at_ms(&self) -> Result<Option<i64>, ReadError> {
        let at = sqlx::query_scalar!("SELECT min(fetched_at_ms) AS 'at?: i64' FROM model_prices")
            .fetch_one(&self.pool)
            .await?;
        Ok(at)
    }

    /// The price list; `None` before the first one.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn price_list(&self) -> Result<Option<PriceList>, ReadError> {
        let rows = sqlx::query!(
            "SELECT model, name, prompt_usd, completion_usd, request_usd, context_length, fetched_at_ms
             FROM model_prices
             ORDER BY model",
        )
        .fetch_all(&self.pool)
        .await?;
        let fetched_at_ms = rows.first().map(|row| row.fetched_at_ms);
        let prices = rows.into_iter().map(|row| ModelPrice {
            model: row.model,
            name: row.name,
            prompt_usd: row.prompt_usd,
            completion_usd: row.completion_usd,
            request_usd: row.request_usd,
            context_length: row.context_length,
        });
        let prices = prices.collect();
        Ok(fetched_at_ms.map(|fetched_at_ms| PriceList { fetched_at_ms, prices }))
    }
}
