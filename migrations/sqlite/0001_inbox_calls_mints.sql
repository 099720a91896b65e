-- Times are milliseconds since 1970 UTC.

-- The inbox: one row for each webhook delivery that was signed. Rows leave only by retention.
CREATE TABLE events (
    id              INTEGER PRIMARY KEY,
    webhook_id      TEXT    NOT NULL UNIQUE,
    state           TEXT    NOT NULL CHECK (state IN ('pending', 'processing', 'done', 'ignored', 'dead')),
    received_at     INTEGER NOT NULL,
    signed_at       INTEGER NOT NULL,
    -- Fingerprint of the secret that matched.
    secret          TEXT    NOT NULL,
    call_id         TEXT,
    body            BLOB    NOT NULL,
    -- 0 when the body says all there is: such an event does not wait for Athos.
    needs_fetch     INTEGER NOT NULL DEFAULT 1,
    -- When a worker may take the row: the next attempt of a pending one, the lease's end of a leased one.
    next_attempt_at INTEGER,
    -- Counts claims; a worker whose number is no longer the row's has lost its lease.
    lease           INTEGER NOT NULL DEFAULT 0,
    attempts        INTEGER NOT NULL DEFAULT 0,
    deliveries      INTEGER NOT NULL DEFAULT 1,
    -- In words: why the last attempt failed, why it is ignored or dead.
    reason          TEXT,
    settled_at      INTEGER,
    CHECK ((state IN ('pending', 'processing')) = (next_attempt_at IS NOT NULL))
) STRICT;

CREATE INDEX events_due ON events (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX events_due_without_fetch ON events (next_attempt_at)
    WHERE next_attempt_at IS NOT NULL AND needs_fetch = 0;
CREATE INDEX events_dead ON events (id) WHERE state = 'dead';

CREATE TABLE calls (
    seq                INTEGER PRIMARY KEY,
    id                 TEXT    NOT NULL UNIQUE,
    status             TEXT    NOT NULL CHECK (status IN ('processing', 'scored', 'unscored')),
    source             TEXT    NOT NULL,
    rep                TEXT,
    agency             TEXT,
    athos_rep          TEXT,
    athos_agency       TEXT,
    drill_key          TEXT,
    started_at         INTEGER,
    ended_at           INTEGER,
    duration_sec       INTEGER,
    scored_at          INTEGER,
    overall_score      REAL,
    compliance_percent REAL,
    reason             TEXT,
    reason_message     TEXT,
    -- When it ended, or the best we know: the axis of lists.
    sort_at            INTEGER NOT NULL,
    -- Grows with every change of any call: the axis of the live stream.
    rev                INTEGER NOT NULL
) STRICT;

CREATE INDEX calls_by_time ON calls (sort_at);
CREATE INDEX calls_by_rep ON calls (rep, sort_at);
CREATE INDEX calls_by_agency ON calls (agency, sort_at);
CREATE INDEX calls_by_rev ON calls (rev);

-- Athos's own JSON, without the recording's link; apart, so that lists stay on few pages.
CREATE TABLE call_details (
    call_seq      INTEGER PRIMARY KEY REFERENCES calls (seq) ON DELETE CASCADE,
    raw           TEXT    NOT NULL,
    -- Whether there was a recording when it was fetched; its link is never kept.
    has_recording INTEGER NOT NULL CHECK (has_recording IN (0, 1)),
    fetched_at    INTEGER NOT NULL
) STRICT;

-- Every request for a session token; never the token.
CREATE TABLE mints (
    id               TEXT    PRIMARY KEY,
    requested_at     INTEGER NOT NULL,
    rep              TEXT    NOT NULL,
    agency           TEXT,
    -- Who asked: 'user' or 'service'.
    caller           TEXT    NOT NULL,
    -- 'minted' or the error's code; null while Athos has not answered, or if we died waiting.
    outcome          TEXT,
    answered_at      INTEGER,
    expires_at       INTEGER,
    athos_request_id TEXT
) STRICT, WITHOUT ROWID;

CREATE INDEX mints_by_rep ON mints (rep, requested_at);
