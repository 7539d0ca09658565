-- A session may get a new id, see schema.sql.

CREATE TRIGGER app_passwords_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE app_passwords SET added_by = NEW.id_digest WHERE added_by = OLD.id_digest;
END;

-- An app password that was made on an added device ends with the one that added it, also when the
-- device itself has signed out since.
CREATE TRIGGER close_gap_above_app_passwords AFTER DELETE ON sessions WHEN OLD.added_by IS NOT NULL BEGIN
    UPDATE app_passwords SET added_by = OLD.added_by WHERE added_by = OLD.id_digest;
END;
