-- Everything the group remembers, as a new database is created. An older one is brought up to date by
-- the steps in migrations/: a change here needs a step there.
--
-- Never stored: a phone number, a PIN, the word, a session cookie. A phone is kept only as a keyed
-- digest, and only while its invite or receipt lives, and for a minute after a text. Times are Unix seconds in UTC.

CREATE TABLE authors (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused, so an old session cannot become somebody else's
    public_id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),  -- random, for programs that need an id that stays
    username TEXT NOT NULL UNIQUE,  -- or, beginning with ~, what is kept of a forgotten one
    invited_by INTEGER REFERENCES authors ON DELETE SET NULL,  -- NULL: from the command line
    joined_at INTEGER NOT NULL,
    ends_at INTEGER,  -- a guest's last second; NULL: not a guest
    last_seen_at INTEGER,  -- at a sign-in, or once a day of use
    removed_at INTEGER  -- the row stays, so nobody can take over the name
) STRICT;

CREATE INDEX authors_by_inviter ON authors (invited_by);
CREATE INDEX guests_by_end ON authors (ends_at) WHERE ends_at IS NOT NULL;

-- Of what is kept of forgotten names. SECRET_KEY may change, and they have to stay taken.
CREATE TABLE name_salt (
    salt TEXT NOT NULL
) STRICT;
INSERT INTO name_salt VALUES (lower(hex(randomblob(16))));

CREATE TABLE whitelist (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    phone_digest TEXT UNIQUE,  -- NULL: made without a number, and nobody has texted its own word yet
    phone_hint TEXT,  -- the last two digits, for the admin
    word_digest TEXT UNIQUE,  -- of its own word; NULL: it was made for a number
    username TEXT,  -- the only name this invite is good for; NULL: any new name
    who TEXT,  -- the inviter's own, such as "Grace from chess"
    circles TEXT NOT NULL DEFAULT '[]',  -- JSON: the names of those that the member will be in
    ends_at INTEGER,  -- when the member's stay will end; NULL: it won't
    invited_by INTEGER REFERENCES authors ON DELETE SET NULL,
    message_ids TEXT NOT NULL DEFAULT '{}',  -- JSON: Vonage's id of each part of the text, and its outcome or null
    delivery TEXT,  -- whether the text arrived as a whole; NULL: not known yet
    language TEXT,  -- of its texts; NULL: the group's
    replied TEXT,  -- what was wrong with the friend's last reply; NULL: nothing
    hinted_at INTEGER,  -- when "Reply with just ..." was sent; only once an invite
    helped_at INTEGER,  -- when HELP was answered; only once an invite
    stopped_at INTEGER,  -- when the friend replied STOP
    pins_sent INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CHECK (phone_digest IS NOT NULL OR word_digest IS NOT NULL),
    CHECK ((phone_digest IS NULL) = (phone_hint IS NULL))
) STRICT;

CREATE INDEX whitelist_by_name ON whitelist (username) WHERE username IS NOT NULL;
CREATE INDEX whitelist_by_inviter ON whitelist (invited_by);

CREATE TABLE pending_verifications (
    phone_digest TEXT PRIMARY KEY,
    whitelist_id INTEGER NOT NULL,  -- a receipt outlives its invite, so this references nothing
    request_id TEXT NOT NULL,  -- Vonage's id of the running Verify request
    message_digest TEXT NOT NULL,  -- of the text message that asked for this PIN
    username TEXT UNIQUE,  -- the name leased while its PIN is being checked
    leased_until INTEGER,
    visitor_digest TEXT,  -- which form in which browser holds the lease or may have the receipt
    author_id INTEGER REFERENCES authors ON DELETE CASCADE,  -- set: signed in; this row is the receipt
    expires_at INTEGER NOT NULL
) STRICT;

-- Forms whose answer shows something once: sent again, they make nothing new.
CREATE TABLE sent_forms (
    digest TEXT PRIMARY KEY,  -- of the form's random value
    made TEXT NOT NULL,  -- what came of it, such as the invite's id
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE cooldowns (
    phone_digest TEXT PRIMARY KEY,
    until INTEGER NOT NULL  -- the number was just texted, and is not invited again before this
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id_digest TEXT PRIMARY KEY,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    device TEXT NOT NULL,  -- what its owner calls it, such as "Firefox on Android"; may be empty
    data TEXT NOT NULL,  -- JSON
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    began TEXT NOT NULL DEFAULT 'pin',  -- how it was signed in: pin, device or passkey
    added_by TEXT,  -- the session of the device that added this one
    is_known INTEGER NOT NULL DEFAULT 0  -- its owner said on another device that it's theirs
) STRICT, WITHOUT ROWID;

-- The chain stays whole when a device in the middle ends. Where the first one ends, the others still
-- say that they came from one device.
CREATE TRIGGER close_gap_in_chain AFTER DELETE ON sessions WHEN OLD.added_by IS NOT NULL BEGIN
    UPDATE sessions SET added_by = OLD.added_by WHERE added_by = OLD.id_digest;
END;

-- A member who signs in again on the same browser gets a new session id. What hangs on the old one
-- goes along; the tables of features have such triggers of their own.
CREATE TRIGGER chain_follows_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE sessions SET added_by = NEW.id_digest WHERE added_by = OLD.id_digest;
END;

CREATE INDEX sessions_by_adder ON sessions (added_by) WHERE added_by IS NOT NULL;
CREATE INDEX sessions_of_author ON sessions (author_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE inbound_messages (
    message_id TEXT PRIMARY KEY,
    claimed_at INTEGER NOT NULL,
    done_at INTEGER
) STRICT, WITHOUT ROWID;

-- What the group did and when, by usernames. It is also the ledger: budgets are counted from it.
CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    actor TEXT,
    subject TEXT,
    invite_id INTEGER,
    detail TEXT,
    parts INTEGER NOT NULL DEFAULT 0  -- how many texts this line cost
) STRICT;

CREATE INDEX journal_by_event ON journal (event, at);
CREATE INDEX journal_by_invite ON journal (invite_id) WHERE invite_id IS NOT NULL;
CREATE INDEX journal_by_time ON journal (at);
CREATE INDEX journal_by_actor ON journal (actor) WHERE actor IS NOT NULL;
CREATE INDEX journal_by_subject ON journal (subject) WHERE subject IS NOT NULL;
CREATE INDEX journal_by_cost ON journal (at, parts) WHERE parts > 0;

-- What other programs are told: written with what causes it, sent afterwards (storage/outbox.py).
CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver TEXT NOT NULL,  -- the feature that writes the message, and for whom: "openid 3"
    event TEXT NOT NULL,
    ids TEXT NOT NULL,  -- JSON: what the message is made of at each try; no words, no addresses
    created_at INTEGER NOT NULL,
    refused INTEGER NOT NULL DEFAULT 0  -- how often its receiver found fault with it
) STRICT;

CREATE INDEX outbox_of_receiver ON outbox (receiver, id);

CREATE TABLE receivers (  -- those for whom something waits
    name TEXT PRIMARY KEY,
    claimed_until INTEGER NOT NULL DEFAULT 0,  -- a process is telling it
    next_at INTEGER NOT NULL DEFAULT 0,  -- not told before this
    failing_since INTEGER,
    failure TEXT  -- of the last try, such as "HTTP 503"
) STRICT, WITHOUT ROWID;

-- The versions of the features' own tables (features/*.sql).
CREATE TABLE parts (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
