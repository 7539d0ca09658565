ALTER TABLE openid_logouts ADD COLUMN sid TEXT NOT NULL DEFAULT '';

-- On which devices somebody signed in to a program. Without a reference to the session, because the
-- program is told when that has ended.
CREATE TABLE openid_sessions (
    sid TEXT PRIMARY KEY,  -- what the program knows the device by
    program_id INTEGER NOT NULL REFERENCES openid_clients ON DELETE CASCADE,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    session_digest TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX openid_sessions_of_author ON openid_sessions (author_id);
