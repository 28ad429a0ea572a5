-- What OpenRouter's own statement told: a row for every UTC day that it was compared with. `final` is a day that is over for 48
-- hours and whose difference is 0.
CREATE TABLE statement_days (
    day TEXT PRIMARY KEY NOT NULL CHECK (day GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'),
    -- The keys whose bill it is, by their hashes, with blanks between.
    key_hashes TEXT NOT NULL,
    bill_text TEXT NOT NULL,
    bill_pico_usd INTEGER NOT NULL,
    ledger_pico_usd INTEGER NOT NULL,
    unattributed_pico_usd INTEGER NOT NULL,
    difference_pico_usd INTEGER NOT NULL,
    generations INTEGER NOT NULL CHECK (generations >= 0),
    final INTEGER NOT NULL CHECK (final IN (0, 1)),
    -- When the statement was fetched, and when it was compared.
    fetched_at_ms INTEGER NOT NULL,
    taken_at_ms INTEGER NOT NULL,
    CHECK (difference_pico_usd = bill_pico_usd - ledger_pico_usd - unattributed_pico_usd),
    CHECK (final = 0 OR difference_pico_usd = 0)
) STRICT, WITHOUT ROWID;

-- Which generation of a statement an entry stands for whose answer told a cost and no id.
CREATE TABLE statement_matches (
    entry_id INTEGER PRIMARY KEY NOT NULL REFERENCES entries (id),
    generation_id TEXT NOT NULL UNIQUE CHECK (generation_id <> ''),
    occurred_at_ms INTEGER NOT NULL
) STRICT;

CREATE TRIGGER statement_matches_no_update
BEFORE UPDATE ON statement_matches
BEGIN
    SELECT raise(ABORT, 'what an entry stands for never changes');
END;

CREATE TRIGGER statement_matches_no_delete
BEFORE DELETE ON statement_matches
BEGIN
    SELECT raise(ABORT, 'what an entry stands for never changes');
END;

-- One settling entry a generation, for ever, whether its call made it or the statement.
DROP INDEX entries_once_per_generation;
CREATE UNIQUE INDEX entries_once_per_generation ON entries (generation_id)
WHERE kind <> 'adjustment' AND generation_id IS NOT NULL;

-- Corrections of a generation.
CREATE INDEX entries_corrections ON entries (generation_id)
WHERE kind = 'adjustment' AND generation_id IS NOT NULL;
