-- When a member was last seen stays known after their last device is signed out. Invites carry circles, and the outbox
-- counts refusals.

ALTER TABLE authors ADD COLUMN last_seen_at INTEGER;
UPDATE authors SET last_seen_at = nullif(max(
        ifnull((SELECT max(seen_at) FROM sessions WHERE author_id = authors.id), 0),
        ifnull((SELECT max(at) FROM journal WHERE actor = username), 0)
    ), 0)
    WHERE removed_at IS NULL;

ALTER TABLE whitelist ADD COLUMN circles TEXT NOT NULL DEFAULT '[]';

ALTER TABLE outbox ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
