-- What waits to be told goes into the outbox.

INSERT INTO outbox (receiver, event, ids, created_at)
    SELECT 'openid ' || program_id, 'signed-out', json_object('sub', public_id, 'sid', sid), created_at
    FROM openid_logouts ORDER BY id;
INSERT OR IGNORE INTO receivers (name) SELECT DISTINCT receiver FROM outbox;
DROP TABLE openid_logouts;

CREATE INDEX openid_sessions_of_session ON openid_sessions (session_digest);
