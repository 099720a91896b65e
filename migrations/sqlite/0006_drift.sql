-- Each source of calls is reconciled by itself.
ALTER TABLE reconcile_runs ADD COLUMN source TEXT NOT NULL DEFAULT 'roleplay';

-- On a call with a real customer, 0 says that there is no headline score.
UPDATE calls SET overall_score = NULL WHERE source = 'real_call' AND overall_score = 0;
