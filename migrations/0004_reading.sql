-- The Usage tab's pages of entries: all, of a user, of a model, of a user with a model; the newest first. Without the fourth,
-- a pair that is not there would be looked for among all that the user ever asked.
CREATE INDEX entries_by_day ON entries (day, occurred_at_ms);
CREATE INDEX entries_by_user ON entries (user_id, day, occurred_at_ms);
CREATE INDEX entries_by_model ON entries (model, day, occurred_at_ms);
CREATE INDEX entries_by_user_and_model ON entries (user_id, model, day, occurred_at_ms);

-- OpenRouter's price list as last told, for the page and for reservations; no entry is ever priced from it. Decimal
-- text in US dollars for a token or a request.
CREATE TABLE model_prices (
    model TEXT PRIMARY KEY NOT NULL CHECK (model <> ''),
    name TEXT NOT NULL,
    prompt_usd TEXT,
    completion_usd TEXT,
    request_usd TEXT,
    context_length INTEGER,
    fetched_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
