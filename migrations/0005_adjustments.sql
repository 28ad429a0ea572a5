-- Why an entry stands in the ledger that no call through the sidecar made: what was imported, what a statement of OpenRouter's told.
-- The reference is the same however often the same thing is told, so that it is booked once.
CREATE TABLE adjustments (
    entry_id INTEGER PRIMARY KEY NOT NULL REFERENCES entries (id),
    reference TEXT NOT NULL UNIQUE CHECK (reference <> ''),
    note TEXT NOT NULL
) STRICT;

CREATE TRIGGER adjustments_no_update
BEFORE UPDATE ON adjustments
BEGIN
    SELECT raise(ABORT, 'adjustments never change: write another');
END;

CREATE TRIGGER adjustments_no_delete
BEFORE DELETE ON adjustments
BEGIN
    SELECT raise(ABORT, 'adjustments are never deleted: write another');
END;
