-- Calls that are no more, for those who keep copies: which one, and nothing that says whose it was. Each has a rev of its
-- own, between those of the calls, and stays: a copy may be brought up to date at any time.
CREATE TABLE erased_calls (
    rev     INTEGER NOT NULL PRIMARY KEY,
    call_id TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- A message may tell of an entry of the audit log. The words of the constraint are replaced in place, as in 0008: building the
-- table anew would copy every message.
ALTER TABLE messages ADD COLUMN act_id INTEGER REFERENCES acts (id) ON DELETE CASCADE;
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
    SET sql = replace(sql, 'CHECK ((call_seq IS NULL) <> (event_id IS NULL))',
                      'CHECK ((call_seq IS NULL) + (event_id IS NULL) + (act_id IS NULL) = 2)')
    WHERE type = 'table' AND name = 'messages';
PRAGMA writable_schema = RESET;
CREATE INDEX messages_by_act ON messages (act_id) WHERE act_id IS NOT NULL;
-- Messages are written about all entries up to this one.
ALTER TABLE told_rev ADD COLUMN act_id INTEGER NOT NULL DEFAULT 0;
UPDATE told_rev SET act_id = (SELECT coalesce(max(id), 0) FROM acts);

-- Service tokens are among the credentials. Rebuilt: another kind.
CREATE TABLE credentials_of_any_kind (
    kind            TEXT    NOT NULL CHECK (kind IN ('webhook_secret', 'api_key', 'service_token')),
    fingerprint     TEXT    NOT NULL,
    first_seen_at   INTEGER NOT NULL,
    last_used_at    INTEGER,
    last_refused_at INTEGER,
    -- The code of that refusal.
    last_code       TEXT,
    PRIMARY KEY (kind, fingerprint)
) STRICT, WITHOUT ROWID;
INSERT INTO credentials_of_any_kind SELECT * FROM credentials;
DROP TABLE credentials;
ALTER TABLE credentials_of_any_kind RENAME TO credentials;
