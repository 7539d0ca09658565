-- What an app's page says and lets change. An app that was told addresses at members.invalid goes on
-- being told them, until an admin changes that.

ALTER TABLE openid_clients ADD COLUMN after_sign_out TEXT NOT NULL DEFAULT '';
ALTER TABLE openid_clients ADD COLUMN is_email_old INTEGER NOT NULL DEFAULT 0;
ALTER TABLE openid_clients ADD COLUMN takes_local_names INTEGER NOT NULL DEFAULT 0;
ALTER TABLE openid_clients ADD COLUMN ignores_login INTEGER NOT NULL DEFAULT 0;
ALTER TABLE openid_clients ADD COLUMN sends_challenge INTEGER NOT NULL DEFAULT 0;
ALTER TABLE openid_clients ADD COLUMN sends_nonce INTEGER NOT NULL DEFAULT 0;
ALTER TABLE openid_clients ADD COLUMN claim TEXT NOT NULL DEFAULT '';
ALTER TABLE openid_clients ADD COLUMN claim_of_members TEXT NOT NULL DEFAULT '';
ALTER TABLE openid_clients ADD COLUMN claim_of_admins TEXT NOT NULL DEFAULT '';
UPDATE openid_clients SET is_email_old = 1 WHERE email != 'none';
ALTER TABLE openid_sessions ADD COLUMN signed_in_at INTEGER NOT NULL DEFAULT 0;

CREATE INDEX openid_sessions_of_program ON openid_sessions (program_id, signed_in_at);

CREATE TABLE openid_refusals (  -- the last one of a program; several processes show it
    program_id INTEGER PRIMARY KEY REFERENCES openid_clients ON DELETE CASCADE,
    at INTEGER NOT NULL,
    why TEXT NOT NULL,  -- the name of a sentence
    address TEXT NOT NULL  -- where a member's browser should have been sent; may be empty
) STRICT;
