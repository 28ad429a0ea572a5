-- How many commits there were. The same number stands in the lock file beside the database: a file that lost the end of its
-- write-ahead log is sound, and has fewer. What a start finds missing is kept.
CREATE TABLE commits (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    count INTEGER NOT NULL CHECK (count >= 0),
    missing INTEGER NOT NULL DEFAULT 0 CHECK (missing >= 0)
) STRICT;

INSERT INTO commits (id, count) VALUES (1, 0);
