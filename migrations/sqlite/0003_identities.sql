-- Which of Athos's ids and which of ours name the same rep, or the same agency. Learnt from what Athos says, and from
-- nobody else.
CREATE TABLE identities (
    kind      TEXT    NOT NULL CHECK (kind IN ('rep', 'agency')),
    athos_id  TEXT    NOT NULL,
    our_id    TEXT    NOT NULL,
    -- 0 when Athos found the agent by something else and does not have our id: it must be asked for by its own.
    on_record INTEGER NOT NULL CHECK (on_record IN (0, 1)),
    learnt_at INTEGER NOT NULL,
    PRIMARY KEY (kind, athos_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX identities_by_our_id ON identities (kind, our_id);

-- Calls that wait for an id of ours. Few, so that the index costs the others nothing.
CREATE INDEX calls_of_unknown_reps ON calls (athos_rep) WHERE rep IS NULL AND athos_rep IS NOT NULL;
CREATE INDEX calls_of_unknown_agencies ON calls (athos_agency) WHERE agency IS NULL AND athos_agency IS NOT NULL;

-- What calls have said already. Of several ids, the one of the latest call.
INSERT INTO identities (kind, athos_id, our_id, on_record, learnt_at)
    SELECT 'rep', athos_rep, rep, 1, max(sort_at) FROM calls
    WHERE athos_rep IS NOT NULL AND rep IS NOT NULL GROUP BY athos_rep;
INSERT INTO identities (kind, athos_id, our_id, on_record, learnt_at)
    SELECT 'agency', athos_agency, agency, 1, max(sort_at) FROM calls
    WHERE athos_agency IS NOT NULL AND agency IS NOT NULL GROUP BY athos_agency;
UPDATE calls SET rep = (SELECT our_id FROM identities WHERE kind = 'rep' AND athos_id = athos_rep)
    WHERE rep IS NULL AND athos_rep IS NOT NULL;
UPDATE calls SET agency = (SELECT our_id FROM identities WHERE kind = 'agency' AND athos_id = athos_agency)
    WHERE agency IS NULL AND athos_agency IS NOT NULL;

-- Mints gain Athos's id of the rep, for those who are named by it; ours may be missing then.
CREATE TABLE mints_with_athos_ids (
    id               TEXT    PRIMARY KEY,
    requested_at     INTEGER NOT NULL,
    rep              TEXT,
    athos_rep        TEXT,
    agency           TEXT,
    -- Who asked: 'user' or 'service'.
    caller           TEXT    NOT NULL,
    -- 'minted' or the error's code; null while Athos has not answered, or if we died waiting.
    outcome          TEXT,
    answered_at      INTEGER,
    expires_at       INTEGER,
    athos_request_id TEXT,
    CHECK (rep IS NOT NULL OR athos_rep IS NOT NULL)
) STRICT, WITHOUT ROWID;
INSERT INTO mints_with_athos_ids
    SELECT id, requested_at, rep, NULL, agency, caller, outcome, answered_at, expires_at, athos_request_id FROM mints;
DROP TABLE mints;
ALTER TABLE mints_with_athos_ids RENAME TO mints;
CREATE INDEX mints_by_rep ON mints (rep, requested_at);
CREATE INDEX mints_of_unknown_reps ON mints (athos_rep) WHERE rep IS NULL;

-- Which generation of its contract Athos was found to speak, by what. One row at most.
CREATE TABLE learnt_contract (
    only       INTEGER PRIMARY KEY CHECK (only = 1),
    generation TEXT    NOT NULL CHECK (generation IN ('external', 'roster')),
    learnt_at  INTEGER NOT NULL,
    learnt_from TEXT   NOT NULL
) STRICT;
