-- The comments are in the file of the same name for SQLite.
CREATE TABLE erased_calls (
    rev     BIGINT PRIMARY KEY,
    call_id TEXT   COLLATE "C" NOT NULL
);

ALTER TABLE messages ADD COLUMN act_id BIGINT REFERENCES acts (id) ON DELETE CASCADE;
ALTER TABLE messages DROP CONSTRAINT messages_check1;
ALTER TABLE messages ADD CONSTRAINT messages_check1 CHECK (num_nonnulls(call_seq, event_id, act_id) = 1);
CREATE INDEX messages_by_act ON messages (act_id) WHERE act_id IS NOT NULL;
ALTER TABLE told_rev ADD COLUMN act_id BIGINT NOT NULL DEFAULT 0;
UPDATE told_rev SET act_id = (SELECT coalesce(max(id), 0) FROM acts);

ALTER TABLE credentials DROP CONSTRAINT credentials_kind_check;
ALTER TABLE credentials ADD CONSTRAINT credentials_kind_check CHECK (kind IN ('webhook_secret', 'api_key', 'service_token'));
