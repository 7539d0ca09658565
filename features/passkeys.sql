-- Passkeys: public keys only. Stealing them gets nobody in.
CREATE TABLE passkeys (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    credential_id TEXT NOT NULL UNIQUE,
    public_key BLOB NOT NULL,
    sign_count INTEGER NOT NULL,
    host TEXT NOT NULL,  -- which it was made for; it is good for no other
    name TEXT NOT NULL,
    is_backed_up INTEGER NOT NULL DEFAULT 0,  -- synced by its maker (the BS flag), as it last said
    attachment TEXT NOT NULL DEFAULT '',  -- platform: part of one device; cross-platform: a key of its own; may be unknown
    added_by TEXT NOT NULL,  -- the session that added it; ending that from another device removes the passkey
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    is_known INTEGER NOT NULL DEFAULT 0  -- its owner said on another device that it's theirs
) STRICT;

-- Where a session goes, those that it added are those of the one that added it.
CREATE TRIGGER close_gap_above_passkeys AFTER DELETE ON sessions WHEN OLD.added_by IS NOT NULL BEGIN
    UPDATE passkeys SET added_by = OLD.added_by WHERE added_by = OLD.id_digest;
END;

-- A session may get a new id, see schema.sql.
CREATE TRIGGER passkeys_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE passkeys SET added_by = NEW.id_digest WHERE added_by = OLD.id_digest;
END;

CREATE INDEX passkeys_by_adder ON passkeys (added_by);
CREATE INDEX passkeys_of_author ON passkeys (author_id);

-- Challenges that were answered: each is good once.
CREATE TABLE used_challenges (
    digest TEXT PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
