-- From version 1: names are never given to somebody else, guests, notes, texts of several parts. The
-- journal loses Vonage's message ids, because beside usernames they say who has which number.

CREATE TABLE new_authors (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    public_id TEXT NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),
    username TEXT NOT NULL UNIQUE,
    invited_by INTEGER REFERENCES authors ON DELETE SET NULL,
    joined_at INTEGER NOT NULL,
    ends_at INTEGER,
    removed_at INTEGER
) STRICT;
INSERT INTO new_authors (id, username, invited_by, joined_at)
    SELECT id, username, invited_by, joined_at FROM authors;
-- Ids must not come back: carry the sequence over, also when its highest ids are gone.
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'new_authors', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'new_authors');
UPDATE sqlite_sequence SET seq = (SELECT max(seq) FROM sqlite_sequence WHERE name IN ('authors', 'new_authors'))
    WHERE name = 'new_authors';
DROP TABLE authors;
ALTER TABLE new_authors RENAME TO authors;
CREATE INDEX authors_by_inviter ON authors (invited_by);

CREATE TABLE new_whitelist (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    phone_digest TEXT NOT NULL UNIQUE,
    phone_hint TEXT NOT NULL,
    username TEXT,
    note TEXT,
    ends_at INTEGER,
    invited_by INTEGER REFERENCES authors ON DELETE SET NULL,
    message_ids TEXT NOT NULL DEFAULT '{}',
    delivery TEXT,
    replied TEXT,
    hinted_at INTEGER,
    stopped_at INTEGER,
    pins_sent INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
INSERT INTO new_whitelist (id, phone_digest, phone_hint, username, invited_by, message_ids, delivery,
        pins_sent, tries, created_at, expires_at)
    SELECT id, phone_digest, phone_hint, username, invited_by,
        iif(message_id IS NULL, '{}', json_object(message_id, delivery)), delivery,
        pins_sent, tries, created_at, expires_at
    FROM whitelist;
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'new_whitelist', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'new_whitelist');
UPDATE sqlite_sequence SET seq = (SELECT max(seq) FROM sqlite_sequence WHERE name IN ('whitelist', 'new_whitelist'))
    WHERE name = 'new_whitelist';
DROP TABLE whitelist;
ALTER TABLE new_whitelist RENAME TO whitelist;
CREATE INDEX whitelist_by_name ON whitelist (username) WHERE username IS NOT NULL;
CREATE INDEX whitelist_by_inviter ON whitelist (invited_by);

CREATE TABLE new_pending_verifications (
    phone_digest TEXT PRIMARY KEY,
    whitelist_id INTEGER NOT NULL,
    request_id TEXT NOT NULL,
    message_digest TEXT NOT NULL,
    username TEXT UNIQUE,
    leased_until INTEGER,
    visitor_digest TEXT,
    author_id INTEGER REFERENCES authors ON DELETE CASCADE,
    expires_at INTEGER NOT NULL
) STRICT;
INSERT INTO new_pending_verifications
    SELECT phone_digest, whitelist_id, request_id, '', username, leased_until, visitor_digest, author_id, expires_at
    FROM pending_verifications;
DROP TABLE pending_verifications;
ALTER TABLE new_pending_verifications RENAME TO pending_verifications;

-- Claims are kept as digests from now on.
DELETE FROM inbound_messages;

CREATE TABLE cooldowns (
    phone_digest TEXT PRIMARY KEY,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

ALTER TABLE sessions ADD COLUMN began TEXT NOT NULL DEFAULT 'pin';

ALTER TABLE journal ADD COLUMN parts INTEGER NOT NULL DEFAULT 0;
UPDATE journal SET parts = 1 WHERE event IN ('text_sent', 'pin_sent');
UPDATE journal SET detail = NULL WHERE event = 'pin_sent';
CREATE INDEX journal_by_time ON journal (at);
CREATE INDEX journal_by_cost ON journal (at, parts) WHERE parts > 0;

CREATE TABLE parts (
    name TEXT PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
