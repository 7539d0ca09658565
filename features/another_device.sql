-- A device that is signed in offers to add another one. Gone with its session, and after five minutes;
-- once the other device is in, the row is its receipt for ten.
CREATE TABLE offers (
    id TEXT PRIMARY KEY,  -- random; the code is derived from it under our key
    code_digest TEXT NOT NULL UNIQUE,
    session_digest TEXT NOT NULL REFERENCES sessions ON DELETE CASCADE,  -- the device that offers
    visitor_digest TEXT,  -- the browser that gave the code
    device TEXT,  -- what that browser calls itself
    refused TEXT,  -- the sentence that says why the offer is over
    confirmed_at INTEGER,  -- the right number was typed
    added_at INTEGER,  -- the other device is signed in
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A session may get a new id, see schema.sql.
CREATE TRIGGER offers_follow_session AFTER UPDATE OF id_digest ON sessions BEGIN
    UPDATE offers SET session_digest = NEW.id_digest WHERE session_digest = OLD.id_digest;
END;

CREATE INDEX offers_of_session ON offers (session_digest);
CREATE INDEX offers_of_visitor ON offers (visitor_digest) WHERE visitor_digest IS NOT NULL;
