CREATE TABLE opened_events (up_to BIGINT NOT NULL);
INSERT INTO opened_events VALUES (0);

ALTER TABLE rev_floor ADD COLUMN boot TEXT COLLATE "C";
