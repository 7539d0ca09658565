-- The language of an invite's texts; NULL: the group's.

ALTER TABLE whitelist ADD COLUMN language TEXT;
