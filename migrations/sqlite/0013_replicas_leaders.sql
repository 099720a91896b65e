-- The processes that serve from this database, when several may: each says now and then that it lives. No part of what the
-- service remembers: the rows are about running processes, and are of no use to a copy.
CREATE TABLE replicas (
    id                  TEXT    NOT NULL PRIMARY KEY,
    version             TEXT    NOT NULL,
    started_at          INTEGER NOT NULL,
    heartbeat_at        INTEGER NOT NULL,
    -- When it last read its settings.
    reloaded_at         INTEGER NOT NULL,
    -- A fingerprint of all credentials that it has.
    credentials         TEXT    NOT NULL,
    -- By how much its clock is ahead of the server's.
    clock_difference_ms INTEGER,
    -- When it stopped in order.
    ended_at            INTEGER
) STRICT, WITHOUT ROWID;

-- Which of them does what only one does. Whoever takes a duty over counts its terms: writes of an earlier term are refused.
CREATE TABLE leaders (
    duty       TEXT    NOT NULL PRIMARY KEY,
    term       INTEGER NOT NULL,
    -- None once it has given the duty up.
    replica    TEXT,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
