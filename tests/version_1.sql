-- A database of version 1, as the program of 24 November 2026 left it: Ada and Grace are members, Mallory
-- and one more were removed, three invites are open (Hedy's has a PIN running). Written at 2026-11-24
-- 12:06 UTC under the tests' SECRET_KEY.
BEGIN TRANSACTION;
CREATE TABLE authors (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never re-used: an old session cannot become somebody else's
    username TEXT NOT NULL UNIQUE,
    invited_by INTEGER REFERENCES authors ON DELETE SET NULL,  -- NULL: from the command line, or by somebody who left
    joined_at INTEGER NOT NULL
) STRICT;
INSERT INTO "authors" VALUES(1,'ada',NULL,1795521600);
INSERT INTO "authors" VALUES(3,'grace',1,1795521720);
CREATE TABLE inbound_messages (
    message_id TEXT NOT NULL,
    part INTEGER NOT NULL DEFAULT 0,
    claimed_at INTEGER NOT NULL,
    done_at INTEGER,
    PRIMARY KEY (message_id, part)
) STRICT, WITHOUT ROWID;
INSERT INTO "inbound_messages" VALUES('0A8B79A89F852E93',0,1795521840,1795521840);
INSERT INTO "inbound_messages" VALUES('91EC618744F8AC4F',0,1795521600,1795521600);
INSERT INTO "inbound_messages" VALUES('A3BFC5439698CC53',0,1795521600,1795521600);
INSERT INTO "inbound_messages" VALUES('BCAD2D3335DB6FB5',0,1795521600,1795521600);
INSERT INTO "inbound_messages" VALUES('D16706C1612E2A1E',0,1795521840,1795521840);
CREATE TABLE journal (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    event TEXT NOT NULL,
    actor TEXT,
    subject TEXT,
    invite_id INTEGER,
    detail TEXT
) STRICT;
INSERT INTO "journal" VALUES(1,1795521600,'invited',NULL,'ada',1,NULL);
INSERT INTO "journal" VALUES(2,1795521600,'text_sent',NULL,NULL,1,NULL);
INSERT INTO "journal" VALUES(3,1795521600,'texted_back',NULL,'ada',1,NULL);
INSERT INTO "journal" VALUES(4,1795521600,'pin_sent',NULL,'ada',1,'91EC618744F8AC4F');
INSERT INTO "journal" VALUES(5,1795521600,'joined','ada',NULL,1,NULL);
INSERT INTO "journal" VALUES(6,1795521600,'invited',NULL,NULL,2,NULL);
INSERT INTO "journal" VALUES(7,1795521600,'text_sent',NULL,NULL,2,NULL);
INSERT INTO "journal" VALUES(8,1795521600,'texted_back',NULL,NULL,2,NULL);
INSERT INTO "journal" VALUES(9,1795521600,'pin_sent',NULL,NULL,2,'A3BFC5439698CC53');
INSERT INTO "journal" VALUES(10,1795521600,'joined','mallory',NULL,2,NULL);
INSERT INTO "journal" VALUES(11,1795521600,'invited','ada',NULL,3,NULL);
INSERT INTO "journal" VALUES(12,1795521600,'text_sent',NULL,NULL,3,NULL);
INSERT INTO "journal" VALUES(13,1795521600,'texted_back',NULL,NULL,3,NULL);
INSERT INTO "journal" VALUES(14,1795521600,'pin_sent',NULL,NULL,3,'BCAD2D3335DB6FB5');
INSERT INTO "journal" VALUES(15,1795521720,'joined','grace',NULL,3,NULL);
INSERT INTO "journal" VALUES(16,1795521720,'removed','ada','mallory',NULL,NULL);
INSERT INTO "journal" VALUES(17,1795521840,'invited','ada','hedy',4,NULL);
INSERT INTO "journal" VALUES(18,1795521840,'text_sent',NULL,NULL,4,NULL);
INSERT INTO "journal" VALUES(19,1795521840,'texted_back',NULL,'hedy',4,NULL);
INSERT INTO "journal" VALUES(20,1795521840,'pin_sent',NULL,'hedy',4,'D16706C1612E2A1E');
INSERT INTO "journal" VALUES(21,1795521840,'texted_back',NULL,'hedy',4,NULL);
INSERT INTO "journal" VALUES(22,1795521840,'pin_sent',NULL,'hedy',4,'0A8B79A89F852E93');
INSERT INTO "journal" VALUES(23,1795521960,'invited','ada',NULL,5,NULL);
INSERT INTO "journal" VALUES(24,1795521960,'text_sent',NULL,NULL,5,NULL);
INSERT INTO "journal" VALUES(25,1795521960,'invited','ada','grace',6,NULL);
INSERT INTO "journal" VALUES(26,1795521960,'text_sent',NULL,NULL,6,NULL);
CREATE TABLE pending_verifications (
    phone_digest TEXT PRIMARY KEY,
    whitelist_id INTEGER NOT NULL,  -- outlived by a receipt, so it references nothing
    request_id TEXT NOT NULL,  -- Vonage's id of the running Verify request
    message_id TEXT NOT NULL,  -- the text message that asked for this PIN
    username TEXT UNIQUE,  -- the name leased while its PIN is being checked
    leased_until INTEGER,
    visitor_digest TEXT,  -- which form of which browser holds the lease, or may have the receipt
    author_id INTEGER REFERENCES authors ON DELETE CASCADE,  -- set: signed in, this row is the receipt
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
INSERT INTO "pending_verifications" VALUES('03237d3761863b8b1fadacc2ed30f5befe2befb53ad07abba6dc104b8d014dde',1,'145d1b06-2a76-4fd0-bb11-7aa771de1478','',NULL,NULL,'dd0baf2f2ac40cac9602b2c7756b901c339cf264468775257b256dfb79829a95',1,1795521600,1795522200);
INSERT INTO "pending_verifications" VALUES('cc2503c65664540ea6faed3dcac91cd5824f4f6b6b8dfec3a19f339474469753',3,'af6295d2-624f-4e8b-81c9-b07efe933ca6','',NULL,NULL,'81dab15ba2e8cd501676d1ad81691c4a0821f162e8220eabd54359d565e717ce',3,1795521720,1795522320);
INSERT INTO "pending_verifications" VALUES('dde04181b4e600d1488a98135fff96d0ffe3a574b19134921495dcf852fd1a9c',4,'c61f5c5e-cf80-4fe3-9cb2-40c1f3d43746','0A8B79A89F852E93',NULL,NULL,NULL,NULL,1795521840,1795522140);
CREATE TABLE sessions (
    id_digest TEXT PRIMARY KEY,
    author_id INTEGER NOT NULL REFERENCES authors ON DELETE CASCADE,
    device TEXT NOT NULL,  -- what its owner calls it, such as "Firefox on Android"; may be empty
    data TEXT NOT NULL,  -- JSON
    created_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "sessions" VALUES('41c25bd4cab9f8c711b7d60adcd418dcc6a2c2fe9e1a5a7b32b5e959ce740a09',1,'Firefox on Android','{"count": 3}',1795521600,1795521600,1798113600);
INSERT INTO "sessions" VALUES('619434d605a32f1557b602eae2e65bba8095ba7694209e9b6a72d1077c1a0a46',3,'','{}',1795521720,1795521720,1798113720);
CREATE TABLE whitelist (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    phone_digest TEXT NOT NULL UNIQUE,
    phone_hint TEXT NOT NULL,  -- the last two digits, for the admin's eyes
    username TEXT,  -- the only name this invite is good for; NULL: any new name
    invited_by INTEGER REFERENCES authors ON DELETE SET NULL,
    message_id TEXT,  -- Vonage's id of the invite text, once it was accepted
    delivery TEXT,  -- what became of the invite text; NULL: nothing was heard yet
    pins_sent INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
INSERT INTO "whitelist" VALUES(4,'dde04181b4e600d1488a98135fff96d0ffe3a574b19134921495dcf852fd1a9c','02','hedy',1,'447b5e88-8a1a-4642-80a6-71870472868b',NULL,2,0,1795521840,1796126640);
INSERT INTO "whitelist" VALUES(5,'33767d86dadf9b599fdcaf3e2916094225350b3e822c506b8c796e1f8dd0e369','03',NULL,1,'f5a34fdc-1fc4-4173-96d1-3b2dcc145793',NULL,0,0,1795521960,1796126760);
INSERT INTO "whitelist" VALUES(6,'cbca20bf476ac93d142c17ea0393d84d6140ed37a699075f697486d9ba6c90d4','04','grace',1,'d186a297-f9da-4980-8e53-dbf810facbb1',NULL,0,0,1795521960,1796126760);
CREATE INDEX sessions_of_author ON sessions (author_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX journal_by_event ON journal (event, at);
CREATE INDEX journal_by_invite ON journal (invite_id) WHERE invite_id IS NOT NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('whitelist',7);
INSERT INTO "sqlite_sequence" VALUES('authors',4);
COMMIT;
PRAGMA user_version = 1;
PRAGMA application_id = 2028336986;
