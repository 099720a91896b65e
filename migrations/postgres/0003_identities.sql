CREATE TABLE identities (
    kind      TEXT   COLLATE "C" NOT NULL CHECK (kind IN ('rep', 'agency')),
    athos_id  TEXT   COLLATE "C" NOT NULL,
    our_id    TEXT   COLLATE "C" NOT NULL,
    on_record BIGINT NOT NULL CHECK (on_record IN (0, 1)),
    learnt_at BIGINT NOT NULL,
    PRIMARY KEY (kind, athos_id)
);

CREATE INDEX identities_by_our_id ON identities (kind, our_id);

CREATE INDEX calls_of_unknown_reps ON calls (athos_rep) WHERE rep IS NULL AND athos_rep IS NOT NULL;
CREATE INDEX calls_of_unknown_agencies ON calls (athos_agency) WHERE agency IS NULL AND athos_agency IS NOT NULL;

ALTER TABLE mints ALTER COLUMN rep DROP NOT NULL;
ALTER TABLE mints ADD COLUMN athos_rep TEXT COLLATE "C";
ALTER TABLE mints ADD CHECK (rep IS NOT NULL OR athos_rep IS NOT NULL);
CREATE INDEX mints_of_unknown_reps ON mints (athos_rep) WHERE rep IS NULL;

CREATE TABLE learnt_contract (
    "only"      BIGINT PRIMARY KEY CHECK ("only" = 1),
    generation  TEXT   COLLATE "C" NOT NULL CHECK (generation IN ('external', 'roster')),
    learnt_at   BIGINT NOT NULL,
    learnt_from TEXT   COLLATE "C" NOT NULL
);
