-- Whether its owner has said of a new passkey that it's theirs.

ALTER TABLE passkeys ADD COLUMN is_known INTEGER NOT NULL DEFAULT 0;
