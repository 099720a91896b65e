-- What was signed, for deliveries under several webhook ids: the time in the body, then half a SHA-256 of the body. The
-- time comes first so that new rows are at the end of the index; one in random order costs accepting a third more. Null
-- for events that came before, and for those of reconciliation, which nobody signed.
ALTER TABLE events ADD COLUMN content_key BLOB;
CREATE UNIQUE INDEX events_by_content ON events (content_key) WHERE content_key IS NOT NULL;

-- Ids are never used again: a lease, an erasure, a cursor remembers a row by its number across transactions. Without
-- AUTOINCREMENT, SQLite gives the number of a deleted last row to the next one. The word changes nothing in the rows, so
-- the schema's text is edited in place, as SQLite's documentation describes for such changes (ALTER TABLE, "Making Other
-- Kinds Of Table Schema Changes"). Building the tables anew would copy every body and every transcript.
CREATE TABLE makes_sqlite_sequence (id INTEGER PRIMARY KEY AUTOINCREMENT);
DROP TABLE makes_sqlite_sequence;
PRAGMA writable_schema = ON;
UPDATE sqlite_schema
    SET sql = replace(sql, 'INTEGER PRIMARY KEY,', 'INTEGER PRIMARY KEY AUTOINCREMENT,')
    WHERE type = 'table' AND name IN ('events', 'calls', 'reconcile_runs', 'acts', 'erasures');
PRAGMA writable_schema = RESET;

-- Events may be gone that an unfinished erasure has looked through.
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'events', max((SELECT coalesce(max(id), 0) FROM events), (SELECT coalesce(max(event_id), 0) FROM erasures))
    UNION ALL SELECT 'calls', coalesce(max(seq), 0) FROM calls
    UNION ALL SELECT 'reconcile_runs', coalesce(max(id), 0) FROM reconcile_runs
    UNION ALL SELECT 'acts', coalesce(max(id), 0) FROM acts
    UNION ALL SELECT 'erasures', coalesce(max(id), 0) FROM erasures;
