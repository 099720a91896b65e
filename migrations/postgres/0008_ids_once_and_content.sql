-- Ids are never used again: an identity column counts on, whatever is deleted.
ALTER TABLE events ADD COLUMN content_key BYTEA;
CREATE UNIQUE INDEX events_by_content ON events (content_key) WHERE content_key IS NOT NULL;
