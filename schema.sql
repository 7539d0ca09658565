-- Everything that Trusted Group remembers. No phone number, PIN, invite code or cookie is ever stored:
-- a phone only as a keyed digest while its invite (or its receipt) is open, a cookie only as its SHA-256.
-- Times are Unix seconds in UTC. Applied at start to a database whose user_version is lower; a change
-- of this file needs a higher one, here and in app.py.

CREATE TABLE IF NOT EXISTS authors (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never re-used: an old session cannot become somebody else's
    username TEXT NOT NULL UNIQUE,
    invited_by INTEGER REFERENCES authors ON DELETE SET NULL,  -- NULL: from the command line, or by somebody who left
    joined_at INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS whitelist (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    phone_digest TEXT NOT NULL UNIQUE,
    phone_hint TEXT NOT NULL,  -- the last two digits, for the admin's eyes
    username TEXT,  -- the only name this invite is good for; NULL: any new name
    invited_by INTEGER REFERENCES authors ON DELETE SET NULL,
    message_id TEXT,  -- Vonage's id of the invite text, once it was accepted
    delivery TEXT,  -- what became of the invite text; NULL: nothing was heard yet
    pins_sent INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS pending_verifications (
    phone_digest TEXT PRIMARY KEY,
    whitelist_id INTEGER NOT NULL,  -- outlived by a receipt, so it references nothing
    request_id TEXT NOT NULL,  -- Vonage's id of the running Verify request
    message_id TEXT NOT NULL,  -- the text message that asked for this PIN
    username TEXT UNIQUE,  -- the name leased while its PIN is being checked
    leased_until INTEGER,
    visitor_digest TEXT,  -- which form of which browser holds the lease, or may have the receipt
    author_id INTEGER REFERENCES authors ON DELETE CASCADE,  -- set: signed in, this row is the receipt
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE TABLE IF NOT EXISTS sessions (
    id_digest TEXT PRIMARY KEY,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    device TEXT NOT NULL,  -- what its owner calls it, such as "Firefox on Android"; may be empty
    data TEXT NOT NULL,  -- JSON
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS sessions_of_author ON sessions (author_id);
CREATE INDEX IF NOT EXISTS sessions_by_expiry ON sessions (expires_at);

CREATE TABLE IF NOT EXISTS inbound_messages (
    message_id TEXT NOT NULL,
    part INTEGER NOT NULL DEFAULT 0,
    claimed_at INTEGER NOT NULL,
    done_at INTEGER,
    PRIMARY KEY (message_id, part)
) STRICT, WITHOUT ROWID;

-- What the group did and when: usernames only. Budgets are counted from it.
CREATE TABLE IF NOT EXISTS journal (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    actor TEXT,
    subject TEXT,
    invite_id INTEGER,
    detail TEXT
) STRICT;

CREATE INDEX IF NOT EXISTS journal_by_event ON journal (event, at);
CREATE INDEX IF NOT EXISTS journal_by_invite ON journal (invite_id) WHERE invite_id IS NOT NULL;

PRAGMA user_version = 1;
