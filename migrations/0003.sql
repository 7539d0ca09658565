-- Devices that were added from another device. The chain stays whole when one in the middle ends.

ALTER TABLE sessions ADD COLUMN added_by TEXT;
CREATE INDEX sessions_by_adder ON sessions (added_by) WHERE added_by IS NOT NULL;
CREATE TRIGGER close_gap_in_chain AFTER DELETE ON sessions BEGIN
    UPDATE sessions SET added_by = OLD.added_by WHERE added_by = OLD.id_digest;
END;
