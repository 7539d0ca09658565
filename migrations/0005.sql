-- A part of a long text has been claimed under a digest of its own since version 2, so nothing used `part`.

CREATE TABLE inbound_messages_new (
    message_id TEXT PRIMARY KEY,
    claimed_at INTEGER NOT NULL,
    done_at INTEGER
) STRICT, WITHOUT ROWID;
INSERT INTO inbound_messages_new (message_id, claimed_at, done_at)
    SELECT message_id, claimed_at, done_at FROM inbound_messages;
DROP TABLE inbound_messages;
ALTER TABLE inbound_messages_new RENAME TO inbound_messages;
