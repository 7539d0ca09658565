-- Names that were forgotten stay taken, as a scrypt under this salt.

CREATE TABLE name_salt (
    salt TEXT NOT NULL
) STRICT;
INSERT INTO name_salt VALUES (lower(hex(randomblob(16))));

-- Whether its owner has said of a new device that it's theirs.
ALTER TABLE sessions ADD COLUMN is_known INTEGER NOT NULL DEFAULT 0;

-- Where the first device of a chain ends, the others still say that they came from one.
DROP TRIGGER close_gap_in_chain;
CREATE TRIGGER close_gap_in_chain AFTER DELETE ON sessions WHEN OLD.added_by IS NOT NULL BEGIN
    UPDATE sessions SET added_by = OLD.added_by WHERE added_by = OLD.id_digest;
END;
