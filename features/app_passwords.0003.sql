-- Whether its owner has said of a new app password that it's theirs.

ALTER TABLE app_passwords ADD COLUMN is_known INTEGER NOT NULL DEFAULT 0;
