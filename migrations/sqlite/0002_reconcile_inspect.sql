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
