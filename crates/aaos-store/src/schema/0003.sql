-- The journal, version 3. An event's hash covers its body's digest, so that the body can be erased and the chain holds.
-- Events without a digest were recorded under chain version 1, whose hash covers the body itself; they keep it.
ALTER TABLE events ADD COLUMN digest BLOB CHECK (digest IS NULL OR length(digest) = 32);

-- An event's body may be emptied, by erasure; nothing else of it changes.
DROP TRIGGER events_keep;
CREATE TRIGGER events_keep BEFORE UPDATE ON events
WHEN NOT (new.body = '' AND new.seq IS old.seq AND new.time IS old.time AND new.run IS old.run
    AND new.agent IS old.agent AND new.call IS old.call AND new.cause IS old.cause AND new.kind IS old.kind
    AND new.prev_hash IS old.prev_hash AND new.hash IS old.hash AND new.digest IS old.digest)
BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

-- What is asked for by time without naming a run: where the money went.
CREATE INDEX events_spending ON events (kind, time) WHERE kind = 'usage_reported' OR kind = 'model_abandoned';

-- Runs whose erasure was recorded and is not finished; the next start finishes it. Their events' places are below seq.
CREATE TABLE erasing (
    run INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT;
