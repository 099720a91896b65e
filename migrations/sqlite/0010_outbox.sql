-- Where messages go. Endpoints come from the configuration; what is here beside the URL is how they fare.
CREATE TABLE endpoints (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    url             TEXT    NOT NULL UNIQUE,
    -- The types of messages that are written for it, with a blank before and after each.
    kinds           TEXT    NOT NULL,
    -- 1 while it is configured.
    is_active       INTEGER NOT NULL CHECK (is_active IN (0, 1)),
    added_at        INTEGER NOT NULL,
    -- Nothing is sent to it until it is registered again; its messages wait.
    disabled_at     INTEGER,
    disabled_reason TEXT,
    -- Since when it has taken every message, or none.
    healthy_since   INTEGER,
    failing_since   INTEGER,
    last_attempt_at INTEGER,
    last_status     INTEGER,
    last_error      TEXT
) STRICT;

-- What is told to each endpoint. Written in the transaction that changes the call; what a message says is read from the call
-- when it is sent. At most one for each endpoint and call is waiting: a call that changes again renews it.
CREATE TABLE messages (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint_id INTEGER NOT NULL REFERENCES endpoints (id) ON DELETE CASCADE,
    -- `webhook-id`: the same for every attempt, another when what it tells of has changed.
    message_id  TEXT    NOT NULL,
    kind        TEXT    NOT NULL,
    -- What it tells of: one of the two.
    call_seq    INTEGER REFERENCES calls (seq) ON DELETE CASCADE,
    event_id    INTEGER REFERENCES events (id) ON DELETE CASCADE,
    at          INTEGER NOT NULL,
    state       TEXT    NOT NULL
                CHECK (state IN ('waiting', 'sending', 'delivered', 'failed', 'superseded')),
    -- When it may be sent: the next attempt of a waiting one, the lease's end of one under way.
    due_at      INTEGER,
    lease       INTEGER NOT NULL DEFAULT 0,
    attempts    INTEGER NOT NULL DEFAULT 0,
    -- Of the last attempt: HTTP status, and what went wrong.
    status      INTEGER,
    error       TEXT,
    settled_at  INTEGER,
    CHECK ((state IN ('waiting', 'sending')) = (due_at IS NOT NULL)),
    CHECK ((call_seq IS NULL) <> (event_id IS NULL))
) STRICT;

CREATE INDEX messages_due ON messages (endpoint_id, due_at) WHERE due_at IS NOT NULL;
CREATE UNIQUE INDEX messages_waiting ON messages (call_seq, endpoint_id) WHERE state = 'waiting' AND call_seq IS NOT NULL;
-- What goes when a call or an event is erased.
CREATE INDEX messages_by_call ON messages (call_seq) WHERE call_seq IS NOT NULL;
CREATE INDEX messages_by_event ON messages (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX messages_failed ON messages (endpoint_id, seq) WHERE state = 'failed';
CREATE INDEX messages_settled ON messages (settled_at) WHERE settled_at IS NOT NULL;

-- The status that was last told of a call; null when nothing was.
ALTER TABLE calls ADD COLUMN told TEXT;
-- One row: messages are written about all changes of calls up to this rev.
CREATE TABLE told_rev (rev INTEGER NOT NULL) STRICT;
INSERT INTO told_rev VALUES (0);
