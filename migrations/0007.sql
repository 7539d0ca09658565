-- The outbox, and guests by their end.

CREATE INDEX guests_by_end ON authors (ends_at) WHERE ends_at IS NOT NULL;

CREATE TABLE outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    receiver TEXT NOT NULL,  -- the feature that writes the message, and for whom: "openid 3"
    event TEXT NOT NULL,
    ids TEXT NOT NULL,  -- JSON: what the message is made of at each try; no words, no addresses
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX outbox_of_receiver ON outbox (receiver, id);

CREATE TABLE receivers (  -- those for whom something waits
    name TEXT PRIMARY KEY,
    claimed_until INTEGER NOT NULL DEFAULT 0,  -- a process is telling it
    next_at INTEGER NOT NULL DEFAULT 0,  -- not told before this
    failing_since INTEGER,
    failure TEXT  -- of the last try, such as "HTTP 503"
) STRICT, WITHOUT ROWID;
