-- A program that signs its members in by OpenID Connect.
CREATE TABLE openid_clients (
    program_id INTEGER PRIMARY KEY REFERENCES programs ON DELETE CASCADE,
    client_id TEXT NOT NULL UNIQUE,
    secret_digest TEXT NOT NULL,  -- SHA-256 of 256 random bits
    redirects TEXT NOT NULL,  -- the addresses that may be returned to, one a line
    needs_pkce INTEGER NOT NULL,  -- 0: the program can't
    email TEXT NOT NULL,  -- what it's told: none, unverified or verified
    logout_address TEXT NOT NULL,  -- where to send sign-outs; may be empty
    after_sign_out TEXT NOT NULL DEFAULT '',  -- the addresses to return to then, one a line
    is_email_old INTEGER NOT NULL DEFAULT 0,  -- 1: it knows members by addresses at members.invalid
    takes_local_names INTEGER NOT NULL DEFAULT 0,  -- 1: its addresses may be http://nas.local and the like
    ignores_login INTEGER NOT NULL DEFAULT 0,  -- 1: `prompt=login` and `max_age` mean nothing here
    sends_challenge INTEGER NOT NULL DEFAULT 0,  -- 1: though it needn't, it has sent one, and must go on
    sends_nonce INTEGER NOT NULL DEFAULT 0,  -- the same
    claim TEXT NOT NULL DEFAULT '',  -- the name of one more; may be empty
    claim_outside TEXT NOT NULL DEFAULT '',  -- what it says
    claim_inside TEXT NOT NULL DEFAULT '',  -- what it says of the admins or of a circle's members; empty: the same
    claim_circle TEXT NOT NULL DEFAULT 'admins'  -- of which
) STRICT;

-- On which devices somebody signed in to a program. Without a reference to the session, because the
-- program is told when that has ended.
CREATE TABLE openid_sessions (
    sid TEXT PRIMARY KEY,  -- what the program knows the device by
    program_id INTEGER NOT NULL REFERENCES openid_clients ON DELETE CASCADE,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    session_digest TEXT NOT NULL,  -- empty: the program was told that this device is out
    expires_at INTEGER NOT NULL,
    signed_in_at INTEGER NOT NULL DEFAULT 0  -- most lately
) STRICT, WITHOUT ROWID;

CREATE INDEX openid_sessions_of_author ON openid_sessions (author_id);
CREATE INDEX openid_sessions_of_session ON openid_sessions (session_digest);
CREATE INDEX openid_sessions_of_program ON openid_sessions (program_id, signed_in_at);

-- Codes and tokens are kept as SHA-256, and end with the device they came from.
CREATE TABLE openid_codes (
    digest TEXT PRIMARY KEY,
    program_id INTEGER NOT NULL REFERENCES openid_clients ON DELETE CASCADE,
    session_digest TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    redirect_uri TEXT NOT NULL,
    scope TEXT NOT NULL,
    nonce TEXT,
    challenge TEXT,  -- PKCE, S256
    auth_time INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX openid_codes_of_session ON openid_codes (session_digest);

CREATE TABLE openid_tokens (
    digest TEXT PRIMARY KEY,
    kind TEXT NOT NULL,  -- access or refresh
    code_digest TEXT NOT NULL,  -- of the code that it began with
    program_id INTEGER NOT NULL REFERENCES openid_clients ON DELETE CASCADE,
    session_digest TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    scope TEXT NOT NULL,
    auth_time INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX openid_tokens_of_session ON openid_tokens (session_digest);
CREATE INDEX openid_tokens_of_code ON openid_tokens (code_digest);

-- A session may get a new id, see schema.sql.
CREATE TRIGGER openid_sessions_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE openid_sessions SET session_digest = NEW.id_digest WHERE session_digest = OLD.id_digest;
END;

CREATE TRIGGER openid_codes_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE openid_codes SET session_digest = NEW.id_digest WHERE session_digest = OLD.id_digest;
END;

CREATE TRIGGER openid_tokens_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE openid_tokens SET session_digest = NEW.id_digest WHERE session_digest = OLD.id_digest;
END;

CREATE TABLE openid_refusals (  -- the last one of a program; several processes show it
    program_id INTEGER PRIMARY KEY REFERENCES openid_clients ON DELETE CASCADE,
    at INTEGER NOT NULL,
    why TEXT NOT NULL,  -- the name of a sentence
    address TEXT NOT NULL  -- where a member's browser should have been sent; may be empty
) STRICT;

CREATE TABLE openid_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    public TEXT NOT NULL,  -- JWK, as JSON
    private TEXT NOT NULL,  -- JWK, encrypted under SECRET_KEY
    created_at INTEGER NOT NULL
) STRICT;
