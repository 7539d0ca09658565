CREATE TABLE app_passwords (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,  -- SHA-256 of 128 random bits
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    program_id INTEGER NOT NULL REFERENCES programs ON DELETE CASCADE,
    added_by TEXT NOT NULL,  -- the session of the device that made it
    name TEXT NOT NULL,  -- where its owner uses it, such as "Calendar on my phone"
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,  -- to the day; 0: never
    is_known INTEGER NOT NULL DEFAULT 0  -- its owner said on another device that it's theirs
) STRICT;

-- A session may get a new id, see schema.sql.
CREATE TRIGGER app_passwords_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE app_passwords SET added_by = NEW.id_digest WHERE added_by = OLD.id_digest;
END;

-- An app password that was made on an added device ends with the one that added it, also when the
-- device itself has signed out since.
CREATE TRIGGER close_gap_above_app_passwords AFTER DELETE ON sessions WHEN OLD.added_by IS NOT NULL BEGIN
    UPDATE app_passwords SET added_by = OLD.added_by WHERE added_by = OLD.id_digest;
END;

CREATE INDEX app_passwords_of_member ON app_passwords (author_id);
CREATE INDEX app_passwords_of_program ON app_passwords (program_id);
