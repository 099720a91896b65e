CREATE INDEX acts_by_subject ON acts (subject) WHERE subject IS NOT NULL;
