-- Checksums: SQLite's pages have none, so a flipped bit in a value could not be told from the value. The digest of a
-- row is the SHA-256 of its text in the view; the program computes it, and gives one to the rows from before.

ALTER TABLE entries ADD COLUMN digest BLOB CHECK (length(digest) = 32);
ALTER TABLE calls ADD COLUMN digest BLOB CHECK (length(digest) = 32);

-- A column that a later migration adds is not covered: it needs a view, and a digest, of its own.
CREATE VIEW sealed_entries AS
SELECT
    id,
    digest,
    quote(CAST(id AS BLOB))
        || ',' || quote(CAST(kind AS BLOB))
        || ',' || quote(CAST(call_id AS BLOB))
        || ',' || quote(CAST(generation_id AS BLOB))
        || ',' || quote(CAST(org_id AS BLOB))
        || ',' || quote(CAST(user_id AS BLOB))
        || ',' || quote(CAST(model AS BLOB))
        || ',' || quote(CAST(model_asked AS BLOB))
        || ',' || quote(CAST(provider AS BLOB))
        || ',' || quote(CAST(day AS BLOB))
        || ',' || quote(CAST(occurred_at_ms AS BLOB))
        || ',' || quote(CAST(booked_at_ms AS BLOB))
        || ',' || quote(CAST(requests AS BLOB))
        || ',' || quote(CAST(prompt_tokens AS BLOB))
        || ',' || quote(CAST(completion_tokens AS BLOB))
        || ',' || quote(CAST(reasoning_tokens AS BLOB))
        || ',' || quote(CAST(cached_tokens AS BLOB))
        || ',' || quote(CAST(cost_text AS BLOB))
        || ',' || quote(CAST(cost_exact AS BLOB))
        || ',' || quote(CAST(cost_pico_usd AS BLOB))
        || ',' || quote(CAST(cost_source AS BLOB))
        || ',' || quote(CAST(markup AS BLOB))
        || ',' || quote(CAST(charge_pico_usd AS BLOB)) AS sealed
FROM entries;

CREATE VIEW sealed_calls AS
SELECT
    id,
    digest,
    quote(CAST(id AS BLOB))
        || ',' || quote(CAST(org_id AS BLOB))
        || ',' || quote(CAST(user_id AS BLOB))
        || ',' || quote(CAST(endpoint AS BLOB))
        || ',' || quote(CAST(model_asked AS BLOB))
        || ',' || quote(CAST(markup AS BLOB))
        || ',' || quote(CAST(state AS BLOB))
        || ',' || quote(CAST(admitted_at_ms AS BLOB))
        || ',' || quote(CAST(generation_id AS BLOB))
        || ',' || quote(CAST(http_status AS BLOB))
        || ',' || quote(CAST(outcome AS BLOB))
        || ',' || quote(CAST(note AS BLOB))
        || ',' || quote(CAST(closed_at_ms AS BLOB))
        || ',' || quote(CAST(model_served AS BLOB))
        || ',' || quote(CAST(provider AS BLOB))
        || ',' || quote(CAST(prompt_tokens AS BLOB))
        || ',' || quote(CAST(completion_tokens AS BLOB))
        || ',' || quote(CAST(reasoning_tokens AS BLOB))
        || ',' || quote(CAST(cached_tokens AS BLOB))
        || ',' || quote(CAST(asks AS BLOB))
        || ',' || quote(CAST(next_ask_at_ms AS BLOB)) AS sealed
FROM calls;

-- An entry is given its digest once; nothing else of it ever changes.
DROP TRIGGER entries_no_update;

CREATE TRIGGER entries_no_update
BEFORE UPDATE OF
    id, kind, call_id, generation_id, org_id, user_id, model, model_asked, provider, day, occurred_at_ms,
    booked_at_ms, requests, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens, cost_text,
    cost_exact, cost_pico_usd, cost_source, markup, charge_pico_usd
ON entries
BEGIN
    SELECT raise(ABORT, 'entries never change: write an adjustment');
END;

CREATE TRIGGER entries_seal_once
BEFORE UPDATE OF digest ON entries
WHEN OLD.digest IS NOT NULL
BEGIN
    SELECT raise(ABORT, 'entries never change: write an adjustment');
END;
