-- The comments are in the file of the same name for SQLite.
CREATE TABLE replicas (
    id                  TEXT   COLLATE "C" PRIMARY KEY,
    version             TEXT   COLLATE "C" NOT NULL,
    started_at          BIGINT NOT NULL,
    heartbeat_at        BIGINT NOT NULL,
    reloaded_at         BIGINT NOT NULL,
    credentials         TEXT   COLLATE "C" NOT NULL,
    clock_difference_ms BIGINT,
    ended_at            BIGINT
);

CREATE TABLE leaders (
    duty       TEXT   COLLATE "C" PRIMARY KEY,
    term       BIGINT NOT NULL,
    replica    TEXT   COLLATE "C",
    expires_at BIGINT NOT NULL
);
