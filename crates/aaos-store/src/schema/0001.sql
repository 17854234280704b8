-- The journal, version 1. Identities and moments are 64-bit numbers as the core draws them, stored as signed integers.
CREATE TABLE events (
    seq       INTEGER PRIMARY KEY CHECK (seq > 0),
    time      INTEGER NOT NULL,                        -- microseconds since 1970
    run       INTEGER,
    agent     INTEGER,
    call      INTEGER,
    cause     INTEGER,                                 -- sequence number of the event that led to it
    kind      TEXT NOT NULL,                           -- the body's tag
    body      TEXT NOT NULL,                           -- the kind with its fields, JSON
    prev_hash BLOB NOT NULL CHECK (length(prev_hash) = 32),
    hash      BLOB NOT NULL CHECK (length(hash) = 32)  -- over prev_hash and every column before it
) STRICT;

CREATE INDEX events_run ON events (run) WHERE run IS NOT NULL;
CREATE INDEX events_agent ON events (agent) WHERE agent IS NOT NULL;
CREATE INDEX events_kind ON events (kind);

-- Nothing in this program changes or removes an event; these stop a slip of the hand.
CREATE TRIGGER events_keep BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;
CREATE TRIGGER events_stay BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events are append-only'); END;

-- The last event's place and hash, so that a journal whose end was cut off is noticed.
CREATE TABLE head (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    seq  INTEGER NOT NULL,
    hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
INSERT INTO head (id, seq, hash) VALUES (1, 0, zeroblob(32));

-- Bodies small enough to share the events' transaction; larger ones are files.
CREATE TABLE blobs (
    id     INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    body   BLOB NOT NULL
) STRICT;
