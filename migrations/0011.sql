-- When a member was last seen stays known after their last device is signed out. Invites carry circles.

ALTER TABLE authors ADD COLUMN last_seen_at INTEGER;
UPDATE authors SET last_seen_at = (SELECT max(at) FROM journal WHERE actor = username)
    WHERE removed_at IS NULL;

ALTER TABLE whitelist ADD COLUMN circles TEXT NOT NULL DEFAULT '[]';
