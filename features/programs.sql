CREATE TABLE programs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,  -- in addresses, such as /auth?program=wiki
    title TEXT NOT NULL,  -- what members read
    address TEXT NOT NULL,  -- where its button leads
    host TEXT NOT NULL,  -- of the address, without a port
    for_all INTEGER NOT NULL,  -- 0: for chosen members, and those of its circles
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX programs_by_host ON programs (host);

CREATE TABLE program_members (
    program_id INTEGER NOT NULL REFERENCES programs ON DELETE CASCADE,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    PRIMARY KEY (program_id, author_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX programs_of_member ON program_members (author_id);

CREATE TABLE program_askers (  -- who asked to be let in
    program_id INTEGER NOT NULL REFERENCES programs ON DELETE CASCADE,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    asked_at INTEGER NOT NULL,
    PRIMARY KEY (program_id, author_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX programs_asked_for ON program_askers (author_id);

-- Named sets of members.
CREATE TABLE circles (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,  -- what apps are told
    title TEXT NOT NULL,  -- what people read
    removed_at INTEGER  -- the row stays, so an app never takes another circle for this one
) STRICT;

CREATE TABLE circle_members (
    circle_id INTEGER NOT NULL REFERENCES circles ON DELETE CASCADE,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    PRIMARY KEY (circle_id, author_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX circles_of_member ON circle_members (author_id);

CREATE TABLE program_circles (
    program_id INTEGER NOT NULL REFERENCES programs ON DELETE CASCADE,
    circle_id INTEGER NOT NULL REFERENCES circles ON DELETE CASCADE,
    may_use INTEGER NOT NULL,  -- 1: its members may
    is_told INTEGER NOT NULL,  -- 1: the program is told who is in it
    PRIMARY KEY (program_id, circle_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX programs_of_circle ON program_circles (circle_id);

-- Who may use which program; whether they still are a member is asked elsewhere.
CREATE VIEW may_use AS
    SELECT programs.id AS program_id, authors.id AS author_id FROM programs, authors
    WHERE for_all OR EXISTS (
        SELECT 1 FROM program_members AS chosen
        WHERE chosen.program_id = programs.id AND chosen.author_id = authors.id
    ) OR EXISTS (
        SELECT 1 FROM program_circles JOIN circle_members USING (circle_id)
        WHERE may_use AND program_circles.program_id = programs.id
        AND circle_members.author_id = authors.id
    );
