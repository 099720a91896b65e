-- Each source of calls is reconciled by itself.
ALTER TABLE reconcile_runs ADD COLUMN source TEXT NOT NULL DEFAULT 'roleplay';

-- On a call with a real customer, 0 says that there is no headline score.
UPDATE calls SET overall_score = NULL WHERE source = 'real_call' AND overall_score = 0;

-- Few among practice: a page of them must not read all of it. Practice costs this nothing.
CREATE INDEX calls_with_customers ON calls (sort_at) WHERE source = 'real_call';

-- What Athos sends that no document mentions, by name.
CREATE TABLE drift (
    kind          TEXT    NOT NULL CHECK (kind IN ('field', 'code', 'event', 'source', 'role')),
    -- Where it stood: 'webhook', 'call', 'score', …
    place         TEXT    NOT NULL,
    name          TEXT    NOT NULL,
    -- How many bodies had it.
    count         INTEGER NOT NULL,
    first_seen_at INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,
    PRIMARY KEY (kind, place, name)
) STRICT, WITHOUT ROWID;
