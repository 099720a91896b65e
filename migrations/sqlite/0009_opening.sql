-- Accepting an event does not write its call's row: that follows in moments. One row: the calls of events up to this one
-- have their rows. What comes after is looked through at the start.
CREATE TABLE opened_events (up_to INTEGER NOT NULL) STRICT;
INSERT INTO opened_events SELECT coalesce(max(id), 0) FROM events;

-- Of which start of the machine the highest rev is. A power cut undoes changes of calls that nobody waited for, and readers
-- who have seen their revs must not meet them again.
ALTER TABLE rev_floor ADD COLUMN boot TEXT;
