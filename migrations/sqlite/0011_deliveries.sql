-- What was done by hand to one message, which is shown with it.
CREATE INDEX acts_by_subject ON acts (subject) WHERE subject IS NOT NULL;
