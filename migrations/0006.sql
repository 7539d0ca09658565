-- A member who signs in again on the same browser gets a new session id. What hangs on the old one
-- goes along; the tables of features have such triggers of their own.

CREATE TRIGGER chain_follows_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE sessions SET added_by = NEW.id_digest WHERE added_by = OLD.id_digest;
END;
