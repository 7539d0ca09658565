-- When HELP was answered.

ALTER TABLE whitelist ADD COLUMN helped_at INTEGER;
