-- The secrets and keys that were ever configured, by fingerprint, and how they fared. Written now and then, not with
-- every use: another process reads here which of them can go.
CREATE TABLE credentials (
    kind            TEXT    NOT NULL CHECK (kind IN ('webhook_secret', 'api_key')),
    fingerprint     TEXT    NOT NULL,
    first_seen_at   INTEGER NOT NULL,
    last_used_at    INTEGER,
    last_refused_at INTEGER,
    -- Athos's code of that refusal.
    last_code       TEXT,
    PRIMARY KEY (kind, fingerprint)
) STRICT, WITHOUT ROWID;
