-- How an event came in. A default, so that accepting a webhook binds nothing more.
ALTER TABLE events ADD COLUMN origin TEXT NOT NULL DEFAULT 'webhook' CHECK (origin IN ('webhook', 'reconcile'));

-- Every reconciliation. A row that never ended belongs to a process that died.
CREATE TABLE reconcile_runs (
    id          INTEGER PRIMARY KEY,
    -- 1 when it continued where the one before had ended; 0 when somebody named its window.
    continues   INTEGER NOT NULL CHECK (continues IN (0, 1)),
    from_at     INTEGER NOT NULL,
    to_at       INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER,
    pages       INTEGER NOT NULL DEFAULT 0,
    seen        INTEGER NOT NULL DEFAULT 0,
    repaired    INTEGER NOT NULL DEFAULT 0,
    -- Why it did not reach the end, in words.
    error       TEXT
) STRICT;

-- How each attempt at an event ended; written with the event's new state.
CREATE TABLE attempts (
    event_id         INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    -- Which claim it was. One that is not here died with its worker.
    number           INTEGER NOT NULL,
    at               INTEGER NOT NULL,
    outcome          TEXT    NOT NULL CHECK (outcome IN ('scored', 'unscored', 'retry', 'dead', 'ignored')),
    -- Athos's HTTP status and code, or our word for what went wrong.
    status           INTEGER,
    code             TEXT,
    -- How long until the next one.
    delay_ms         INTEGER,
    error            TEXT,
    athos_request_id TEXT,
    PRIMARY KEY (event_id, number)
) STRICT, WITHOUT ROWID;

-- What people did by hand, and what was there before.
CREATE TABLE acts (
    id         INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    -- 'user', 'service' or 'command'.
    caller     TEXT    NOT NULL,
    rep        TEXT,
    act        TEXT    NOT NULL CHECK (act IN ('replay')),
    event_id   INTEGER NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    was_state  TEXT    NOT NULL,
    was_reason TEXT
) STRICT;

CREATE INDEX acts_by_event ON acts (event_id);
