ALTER TABLE reconcile_runs ADD COLUMN source TEXT COLLATE "C" NOT NULL DEFAULT 'roleplay';

CREATE INDEX calls_with_customers ON calls (sort_at) WHERE source = 'real_call';

CREATE TABLE drift (
    kind          TEXT   COLLATE "C" NOT NULL CHECK (kind IN ('field', 'code', 'event', 'source', 'role')),
    place         TEXT   COLLATE "C" NOT NULL,
    name          TEXT   COLLATE "C" NOT NULL,
    count         BIGINT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at  BIGINT NOT NULL,
    PRIMARY KEY (kind, place, name)
);
