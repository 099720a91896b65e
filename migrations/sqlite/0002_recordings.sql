-- Whether Athos had a recording of the call when its detail was fetched. Its link is never kept.
ALTER TABLE call_details ADD COLUMN has_recording INTEGER NOT NULL DEFAULT 0 CHECK (has_recording IN (0, 1));
