-- The ledger of one organisation. Money is whole pico-dollars (1e-12 USD), times are Unix milliseconds, days
-- are YYYY-MM-DD in the organisation's zone.

-- The seeds' columns under the seeds' names, so that their upsert runs; markup and limit hold decimal text.
CREATE TABLE client_organizations (
    id TEXT PRIMARY KEY NOT NULL CHECK (id <> ''),
    name TEXT NOT NULL,
    openrouter_api_key TEXT UNIQUE,
    openrouter_key_hash TEXT,
    markup_rate TEXT NOT NULL DEFAULT '1.3',
    monthly_limit TEXT,
    billing_email TEXT,
    timezone TEXT NOT NULL DEFAULT 'Europe/Warsaw',
    is_active INTEGER NOT NULL DEFAULT 1 CHECK (is_active IN (0, 1)),
    -- ANY lets the seeds' text reach the triggers below, which convert it; what is stored is milliseconds.
    created_at ANY NOT NULL CHECK (typeof(created_at) = 'integer'),
    updated_at ANY NOT NULL CHECK (typeof(updated_at) = 'integer')
) STRICT;

-- INSERT OR REPLACE, as the seeds write it, would delete the row and with it all that it does not name (limit,
-- e-mail, created_at). For a known id it becomes an update.
CREATE TRIGGER client_organizations_replace
BEFORE INSERT ON client_organizations
WHEN EXISTS (SELECT 1 FROM client_organizations WHERE id = NEW.id)
BEGIN
    UPDATE client_organizations
    SET name = NEW.name,
        openrouter_api_key = coalesce(NEW.openrouter_api_key, openrouter_api_key),
        -- The hash belongs to its key: a new key without a hash has none that is known.
        openrouter_key_hash = CASE
            WHEN NEW.openrouter_api_key IS NULL OR NEW.openrouter_api_key IS openrouter_api_key
            THEN coalesce(NEW.openrouter_key_hash, openrouter_key_hash)
            ELSE NEW.openrouter_key_hash
        END,
        markup_rate = NEW.markup_rate,
        monthly_limit = coalesce(NEW.monthly_limit, monthly_limit),
        billing_email = coalesce(NEW.billing_email, billing_email),
        is_active = NEW.is_active,
        updated_at = CASE
            WHEN typeof(NEW.updated_at) = 'text' THEN unixepoch(NEW.updated_at) * 1000
            WHEN NEW.updated_at < 100000000000 THEN CAST(NEW.updated_at * 1000 AS INTEGER)
            ELSE CAST(NEW.updated_at AS INTEGER)
        END
    WHERE id = NEW.id;
    SELECT raise(IGNORE);
END;

-- The seeds write seconds or ISO text into the two times; both become milliseconds.
CREATE TRIGGER client_organizations_times
BEFORE INSERT ON client_organizations
WHEN NOT EXISTS (SELECT 1 FROM client_organizations WHERE id = NEW.id)
    AND (
        typeof(NEW.created_at) <> 'integer' OR NEW.created_at < 100000000000
        OR typeof(NEW.updated_at) <> 'integer' OR NEW.updated_at < 100000000000
    )
BEGIN
    INSERT INTO client_organizations (
        id, name, openrouter_api_key, openrouter_key_hash, markup_rate, monthly_limit, billing_email, timezone,
        is_active, created_at, updated_at
    )
    VALUES (
        NEW.id, NEW.name, NEW.openrouter_api_key, NEW.openrouter_key_hash, NEW.markup_rate, NEW.monthly_limit,
        NEW.billing_email, NEW.timezone, NEW.is_active,
        CASE
            WHEN typeof(NEW.created_at) = 'text' THEN unixepoch(NEW.created_at) * 1000
            WHEN NEW.created_at < 100000000000 THEN CAST(NEW.created_at * 1000 AS INTEGER)
            ELSE CAST(NEW.created_at AS INTEGER)
        END,
        CASE
            WHEN typeof(NEW.updated_at) = 'text' THEN unixepoch(NEW.updated_at) * 1000
            WHEN NEW.updated_at < 100000000000 THEN CAST(NEW.updated_at * 1000 AS INTEGER)
            ELSE CAST(NEW.updated_at AS INTEGER)
        END
    );
    SELECT raise(IGNORE);
END;

-- Everybody who ever asked; names and addresses as last seen, so that they outlive a deleted account.
CREATE TABLE users (
    user_id TEXT PRIMARY KEY NOT NULL CHECK (user_id <> ''),
    external_user TEXT NOT NULL,
    name TEXT,
    email TEXT,
    role TEXT,
    first_seen_at_ms INTEGER NOT NULL,
    last_seen_at_ms INTEGER NOT NULL
) STRICT;

-- One row a call, from before it leaves the house.
CREATE TABLE calls (
    id TEXT PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL REFERENCES client_organizations (id),
    user_id TEXT NOT NULL REFERENCES users (user_id),
    endpoint TEXT NOT NULL,
    model_asked TEXT NOT NULL,
    markup TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intent', 'open', 'orphan', 'settled', 'void')),
    admitted_at_ms INTEGER NOT NULL,
    generation_id TEXT CHECK (generation_id <> ''),
    http_status INTEGER,
    outcome TEXT,
    note TEXT,
    closed_at_ms INTEGER,
    model_served TEXT,
    provider TEXT,
    prompt_tokens INTEGER CHECK (prompt_tokens >= 0),
    completion_tokens INTEGER CHECK (completion_tokens >= 0),
    reasoning_tokens INTEGER CHECK (reasoning_tokens >= 0),
    cached_tokens INTEGER CHECK (cached_tokens >= 0),
    asks INTEGER NOT NULL DEFAULT 0 CHECK (asks >= 0),
    next_ask_at_ms INTEGER,
    CHECK (state <> 'open' OR generation_id IS NOT NULL)
) STRICT;

-- One index a state: the planner uses a partial index only where its condition stands in the query as it is.
CREATE INDEX calls_intent ON calls (admitted_at_ms) WHERE state = 'intent';
CREATE INDEX calls_open ON calls (next_ask_at_ms) WHERE state = 'open';
CREATE INDEX calls_orphan ON calls (admitted_at_ms) WHERE state = 'orphan';

-- 'intent' to 'settled' is a call whose answer told a cost but no generation id (some embeddings).
CREATE TRIGGER calls_states
BEFORE UPDATE OF state ON calls
WHEN OLD.state <> NEW.state
    AND (OLD.state || ' ' || NEW.state) NOT IN (
        'intent open', 'intent orphan', 'intent void', 'intent settled',
        'open settled', 'open void', 'orphan settled', 'orphan void'
    )
BEGIN
    SELECT raise(ABORT, 'a call cannot go back: settled and void are final');
END;

CREATE TRIGGER calls_keep_generation
BEFORE UPDATE OF generation_id ON calls
WHEN OLD.generation_id IS NOT NULL AND OLD.generation_id IS NOT NEW.generation_id
BEGIN
    SELECT raise(ABORT, 'the generation id of a call never changes');
END;

CREATE TRIGGER calls_no_delete
BEFORE DELETE ON calls
BEGIN
    SELECT raise(ABORT, 'calls are never deleted');
END;

-- The ledger proper: what was billed, for ever.
CREATE TABLE entries (
    id INTEGER PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('call', 'adjustment', 'unattributed')),
    call_id TEXT REFERENCES calls (id),
    generation_id TEXT CHECK (generation_id <> ''),
    org_id TEXT NOT NULL REFERENCES client_organizations (id),
    user_id TEXT NOT NULL REFERENCES users (user_id),
    model TEXT NOT NULL,
    model_asked TEXT,
    provider TEXT,
    day TEXT NOT NULL CHECK (day GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'),
    occurred_at_ms INTEGER NOT NULL,
    booked_at_ms INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER CHECK (prompt_tokens >= 0),
    completion_tokens INTEGER CHECK (completion_tokens >= 0),
    reasoning_tokens INTEGER CHECK (reasoning_tokens >= 0),
    cached_tokens INTEGER CHECK (cached_tokens >= 0),
    cost_text TEXT NOT NULL,
    cost_exact INTEGER NOT NULL CHECK (cost_exact IN (0, 1)),
    cost_pico_usd INTEGER NOT NULL,
    cost_source TEXT NOT NULL CHECK (cost_source IN ('response', 'generation', 'statement')),
    markup TEXT NOT NULL,
    charge_pico_usd INTEGER NOT NULL,
    CHECK (kind <> 'call' OR (call_id IS NOT NULL AND requests = 1 AND cost_pico_usd >= 0))
) STRICT;

CREATE UNIQUE INDEX entries_once_per_generation ON entries (generation_id)
WHERE kind = 'call' AND generation_id IS NOT NULL;
CREATE UNIQUE INDEX entries_once_per_call ON entries (call_id) WHERE kind = 'call';

CREATE TRIGGER entries_no_update
BEFORE UPDATE ON entries
BEGIN
    SELECT raise(ABORT, 'entries never change: write an adjustment');
END;

CREATE TRIGGER entries_no_delete
BEFORE DELETE ON entries
BEGIN
    SELECT raise(ABORT, 'entries are never deleted: write an adjustment');
END;

-- The one roll-up.
CREATE TABLE daily_usage (
    org_id TEXT NOT NULL,
    day TEXT NOT NULL,
    user_id TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    cost_pico_usd INTEGER NOT NULL,
    charge_pico_usd INTEGER NOT NULL,
    first_activity_at_ms INTEGER NOT NULL,
    last_activity_at_ms INTEGER NOT NULL,
    PRIMARY KEY (org_id, day, user_id, model)
) STRICT, WITHOUT ROWID;

-- One row a poll: our sum beside OpenRouter's.
CREATE TABLE reconciliations (
    id INTEGER PRIMARY KEY NOT NULL,
    org_id TEXT NOT NULL REFERENCES client_organizations (id),
    polled_at_ms INTEGER NOT NULL,
    key_hash TEXT,
    our_cost_pico_usd INTEGER NOT NULL,
    key_usage_text TEXT,
    key_usage_pico_usd INTEGER,
    difference_pico_usd INTEGER,
    settled_calls INTEGER NOT NULL,
    open_calls INTEGER NOT NULL,
    orphan_calls INTEGER NOT NULL,
    warning TEXT CHECK (warning IN ('bypass')),
    error TEXT
) STRICT;

CREATE INDEX reconciliations_by_key ON reconciliations (key_hash, id);

-- The original's three tables as views over the roll-up, so that they cannot disagree. Money is USD as a number
-- and times are Unix seconds, because that is what the original's reports read.
CREATE VIEW client_user_daily_usage AS
SELECT
    usage.org_id || ':' || usage.user_id || ':' || usage.day AS id,
    usage.org_id AS client_org_id,
    usage.user_id AS user_id,
    users.external_user AS openrouter_user_id,
    usage.day AS usage_date,
    sum(usage.prompt_tokens + usage.completion_tokens) AS total_tokens,
    sum(usage.requests) AS total_requests,
    sum(usage.cost_pico_usd) / 1e12 AS raw_cost,
    sum(usage.charge_pico_usd) / 1e12 AS markup_cost,
    min(usage.first_activity_at_ms) / 1000 AS created_at,
    max(usage.last_activity_at_ms) / 1000 AS updated_at
FROM daily_usage AS usage
JOIN users ON users.user_id = usage.user_id
GROUP BY usage.org_id, usage.user_id, usage.day;

CREATE VIEW client_model_daily_usage AS
SELECT
    org_id || ':' || model || ':' || day AS id,
    org_id AS client_org_id,
    model AS model_name,
    day AS usage_date,
    sum(prompt_tokens + completion_tokens) AS total_tokens,
    sum(requests) AS total_requests,
    sum(cost_pico_usd) / 1e12 AS raw_cost,
    sum(charge_pico_usd) / 1e12 AS markup_cost,
    CASE instr(model, '/') WHEN 0 THEN 'openrouter' ELSE substr(model, 1, instr(model, '/') - 1) END AS provider,
    min(first_activity_at_ms) / 1000 AS created_at,
    max(last_activity_at_ms) / 1000 AS updated_at
FROM daily_usage
GROUP BY org_id, model, day;

CREATE VIEW client_daily_usage AS
SELECT
    usage.org_id || ':' || usage.day AS id,
    usage.org_id AS client_org_id,
    usage.day AS usage_date,
    sum(usage.prompt_tokens + usage.completion_tokens) AS total_tokens,
    sum(usage.requests) AS total_requests,
    sum(usage.cost_pico_usd) / 1e12 AS raw_cost,
    sum(usage.charge_pico_usd) / 1e12 AS markup_cost,
    (
        SELECT busiest.model
        FROM daily_usage AS busiest
        WHERE busiest.org_id = usage.org_id AND busiest.day = usage.day
        GROUP BY busiest.model
        ORDER BY sum(busiest.prompt_tokens + busiest.completion_tokens) DESC, busiest.model
        LIMIT 1
    ) AS primary_model,
    count(DISTINCT usage.user_id) AS unique_users,
    min(usage.first_activity_at_ms) / 1000 AS created_at,
    max(usage.last_activity_at_ms) / 1000 AS updated_at
FROM daily_usage AS usage
GROUP BY usage.org_id, usage.day;

-- One row that the health check writes, to find out whether a commit still reaches the disk.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    written_at_ms INTEGER NOT NULL
) STRICT;

INSERT INTO probe (id, written_at_ms) VALUES (1, 0);
