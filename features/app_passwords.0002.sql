-- A session may get a new id, see schema.sql.

CREATE TRIGGER app_passwords_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE app_passwords SET added_by = NEW.id_digest WHERE added_by = OLD.id_digest;
END;
