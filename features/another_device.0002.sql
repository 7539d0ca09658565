-- A session may get a new id, see schema.sql.

CREATE TRIGGER offers_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE offers SET session_digest = NEW.id_digest WHERE session_digest = OLD.id_digest;
END;
