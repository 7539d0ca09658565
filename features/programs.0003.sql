-- Circles: named sets of members, who may use programs, and whom programs are told of.

CREATE TABLE circles (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    title TEXT NOT NULL,
    removed_at INTEGER
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
    may_use INTEGER NOT NULL,
    is_told INTEGER NOT NULL,
    PRIMARY KEY (program_id, circle_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX programs_of_circle ON program_circles (circle_id);

DROP VIEW may_use;
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
