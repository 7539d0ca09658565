-- What was told to NOTIFY_URL and HOOK_URL, so that it comes once.
CREATE TABLE told (
    key TEXT PRIMARY KEY,  -- such as "invite 12 replied-stop"
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE told_until (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    line INTEGER NOT NULL  -- of the journal
) STRICT;
