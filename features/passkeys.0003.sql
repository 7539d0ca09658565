-- Whether a passkey survives the loss of its device. Those that were made before say so when they are used.

ALTER TABLE passkeys ADD COLUMN is_backed_up INTEGER NOT NULL DEFAULT 0;
ALTER TABLE passkeys ADD COLUMN attachment TEXT NOT NULL DEFAULT '';
