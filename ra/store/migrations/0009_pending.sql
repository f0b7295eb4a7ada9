-- Requests that wait until people have approved them.
CREATE TABLE pending (
	request BYTEA  NOT NULL PRIMARY KEY, -- what it is, and stays when it is repeated
	id      TEXT   NOT NULL UNIQUE,
	wanted  BYTEA  NOT NULL,  -- the certificate that was planned, as a hash
	validity BIGINT NOT NULL, -- for how long, in seconds
	policy  TEXT   NOT NULL,  -- SHA-256 of the file, in hexadecimal
	state   TEXT   NOT NULL,  -- waiting, denied, issued
	needs   BIGINT NOT NULL,  -- how many have to approve
	op      TEXT   NOT NULL,
	label   TEXT   NOT NULL,
	profile TEXT   NOT NULL,
	who     TEXT   NOT NULL,  -- in words
	names   TEXT   NOT NULL,  -- of the certificate, in words
	record  BYTEA  NOT NULL,  -- JSON, as in the audit chain
	uses    TEXT   NOT NULL,  -- JSON: what is reserved for it
	asked   BIGINT NOT NULL,
	changed BIGINT NOT NULL,  -- when the plan was last another one
	expires BIGINT NOT NULL
);
CREATE INDEX pending_by_end ON pending (expires);

-- What people have said of them.
CREATE TABLE pending_decisions (
	id       TEXT   NOT NULL,  -- of the request
	approver TEXT   NOT NULL,  -- tells people apart
	name     TEXT   NOT NULL,  -- in words
	method   TEXT   NOT NULL,  -- client_cert, stated
	approves BIGINT NOT NULL,  -- 0: denies
	note     TEXT   NOT NULL,
	disclose BIGINT NOT NULL,  -- 1: the client may read the note
	at       BIGINT NOT NULL,
	PRIMARY KEY (id, approver)
);
