CREATE TABLE credentials (
    kind            TEXT   COLLATE "C" NOT NULL CHECK (kind IN ('webhook_secret', 'api_key')),
    fingerprint     TEXT   COLLATE "C" NOT NULL,
    first_seen_at   BIGINT NOT NULL,
    last_used_at    BIGINT,
    last_refused_at BIGINT,
    last_code       TEXT   COLLATE "C",
    PRIMARY KEY (kind, fingerprint)
);
