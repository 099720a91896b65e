-- What people did by hand. Rebuilt: an act need not concern an event.
CREATE TABLE acts_of_any_kind (
    id         INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    -- 'user', 'service' or 'command'.
    caller     TEXT    NOT NULL,
    -- Who, when it was a user.
    rep        TEXT,
    -- 'replay', 'delete_rep', or another word.
    act        TEXT    NOT NULL,
    -- The event it was done to, and what was there before.
    event_id   INTEGER REFERENCES events (id) ON DELETE CASCADE,
    was_state  TEXT,
    was_reason TEXT,
    -- What else it was done to; a person is named by a hash only.
    subject    TEXT,
    -- What came of it, as JSON.
    result     TEXT,
    CHECK ((event_id IS NULL) = (was_state IS NULL))
) STRICT;

INSERT INTO acts_of_any_kind (id, at, caller, rep, act, event_id, was_state, was_reason)
SELECT id, at, caller, rep, act, event_id, was_state, was_reason FROM acts;
DROP TABLE acts;
ALTER TABLE acts_of_any_kind RENAME TO acts;
CREATE INDEX acts_by_event ON acts (event_id);

-- When the words of a call (transcript, quotes) were removed, or left out in the first place.
ALTER TABLE calls ADD COLUMN purged_at INTEGER;
-- What retention has yet to look at, oldest first.
CREATE INDEX calls_with_words ON calls (sort_at) WHERE status = 'scored' AND purged_at IS NULL;
CREATE INDEX events_with_body ON events (received_at) WHERE next_attempt_at IS NULL AND body <> x'';

-- What was erased and must not come back, by a hash of its id.
CREATE TABLE erased (
    hash   BLOB    PRIMARY KEY,
    -- Of a rep: calls that began until then are gone for good. Null for a call.
    until INTEGER
) STRICT, WITHOUT ROWID;

-- Erasures that have begun. A row goes when all is gone; until then whoever finds it goes on.
CREATE TABLE erasures (
    id         INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    -- Who asked, as in acts.
    caller     TEXT    NOT NULL,
    actor      TEXT,
    subject    TEXT    NOT NULL,
    -- The rep's ids, ours and Athos's, as JSON lists.
    reps       TEXT    NOT NULL,
    athos_reps TEXT    NOT NULL,
    -- Events up to this one have been looked through.
    event_id   INTEGER NOT NULL DEFAULT 0,
    -- How many rows of each kind are gone so far, as JSON.
    result     TEXT    NOT NULL
) STRICT;

-- One row: the highest rev of a call that is no more. Revs only grow, whatever goes.
CREATE TABLE rev_floor (rev INTEGER NOT NULL) STRICT;
INSERT INTO rev_floor VALUES (0);
CREATE VIEW latest_rev AS
SELECT max(rev) AS rev FROM (SELECT max(rev) AS rev FROM calls UNION ALL SELECT rev FROM rev_floor);
