//! The price list is replaced as a whole.

use sqlx::SqliteConnection;

use crate::PriceList;
use crate::error::WriteError;
use crate::writer::Write;

impl Write for PriceList {
    type Answer = ();

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        sqlx::query!("DELETE FROM model_prices").execute(&mut *connection).await?;
        for price in &self.prices {
            sqlx::query!(
                "INSERT OR REPLACE INTO model_prices
                     (model, name, prompt_usd, completion_usd, request_usd, context_length, fetched_at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                price.model,
                price.name,
                price.prompt_usd,
                price.completion_usd,
                price.request_usd,
                price.context_length,
                self.fetched_at_ms,
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}
