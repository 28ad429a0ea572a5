-- The same rule in other words: SQLite makes a B-tree for a moment of each list of more than two words in a trigger, for every row.
DROP TRIGGER calls_states;

CREATE TRIGGER calls_states
BEFORE UPDATE OF state ON calls
WHEN OLD.state <> NEW.state
    AND NOT (OLD.state = 'intent' AND NEW.state <> 'intent')
    AND NOT (OLD.state = 'open' AND (NEW.state = 'settled' OR NEW.state = 'void'))
    AND NOT (OLD.state = 'orphan' AND (NEW.state = 'settled' OR NEW.state = 'void'))
BEGIN
    SELECT raise(ABORT, 'a call cannot go back: settled and void are final');
END;
