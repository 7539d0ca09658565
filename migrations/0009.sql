-- Invites without a number, and forms that are sent twice. The table is built again, because a phone may be NULL
-- now; open, stopped and running invites come along.

CREATE TABLE new_whitelist (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    phone_digest TEXT UNIQUE,
    phone_hint TEXT,
    word_digest TEXT UNIQUE,
    username TEXT,
    who TEXT,
    ends_at INTEGER,
    invited_by INTEGER REFERENCES authors ON DELETE SET NULL,
    message_ids TEXT NOT NULL DEFAULT '{}',
    delivery TEXT,
    language TEXT,
    replied TEXT,
    hinted_at INTEGER,
    helped_at INTEGER,
    stopped_at INTEGER,
    pins_sent INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    CHECK (phone_digest IS NOT NULL OR word_digest IS NOT NULL),
    CHECK ((phone_digest IS NULL) = (phone_hint IS NULL))
) STRICT;
INSERT INTO new_whitelist (id, phone_digest, phone_hint, username, who, ends_at, invited_by, message_ids, delivery,
        language, replied, hinted_at, helped_at, stopped_at, pins_sent, tries, created_at, expires_at)
    SELECT id, phone_digest, phone_hint, username, note, ends_at, invited_by, message_ids, delivery,
        language, replied, hinted_at, helped_at, stopped_at, pins_sent, tries, created_at, expires_at
    FROM whitelist;
-- Ids must not come back: carry the sequence over, also when its highest ids are gone.
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'new_whitelist', 0 WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'new_whitelist');
UPDATE sqlite_sequence SET seq = (SELECT max(seq) FROM sqlite_sequence WHERE name IN ('whitelist', 'new_whitelist'))
    WHERE name = 'new_whitelist';
DROP TABLE whitelist;
ALTER TABLE new_whitelist RENAME TO whitelist;
CREATE INDEX whitelist_by_name ON whitelist (username) WHERE username IS NOT NULL;
CREATE INDEX whitelist_by_inviter ON whitelist (invited_by);

CREATE TABLE sent_forms (
    digest TEXT PRIMARY KEY,
    made TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX journal_by_actor ON journal (actor) WHERE actor IS NOT NULL;
CREATE INDEX journal_by_subject ON journal (subject) WHERE subject IS NOT NULL;
