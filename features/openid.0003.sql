-- A session may get a new id, see schema.sql.

CREATE TRIGGER openid_sessions_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE openid_sessions SET session_digest = NEW.id_digest WHERE session_digest = OLD.id_digest;
END;

CREATE TRIGGER openid_codes_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE openid_codes SET session_digest = NEW.id_digest WHERE session_digest = OLD.id_digest;
END;

CREATE TRIGGER openid_tokens_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE openid_tokens SET session_digest = NEW.id_digest WHERE session_digest = OLD.id_digest;
END;
