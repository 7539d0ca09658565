-- Who asked to be let into one.

CREATE TABLE program_askers (
    program_id INTEGER NOT NULL REFERENCES programs ON DELETE CASCADE,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    asked_at INTEGER NOT NULL,
    PRIMARY KEY (program_id, author_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX programs_asked_for ON program_askers (author_id);
