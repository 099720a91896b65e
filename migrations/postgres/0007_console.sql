CREATE INDEX events_by_call ON events (call_id) WHERE next_attempt_at IS NULL AND call_id IS NOT NULL;
CREATE INDEX events_ignored ON events (id) WHERE state = 'ignored';
CREATE INDEX events_not_understood ON events (id) WHERE call_id IS NULL;
CREATE INDEX events_reconciled ON events (id) WHERE origin = 'reconcile';

CREATE INDEX mints_by_time ON mints (requested_at);
