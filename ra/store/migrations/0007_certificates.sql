-- Certificates: what was asked for, and what became of it. Ids and the serial numbers
-- that are chosen here go up with time, so that their indexes grow at the end; a
-- hash is looked up with its serial number.
CREATE TABLE certificates (
	id          TEXT   NOT NULL PRIMARY KEY, -- of the request, as in the audit record
	request     BYTEA  NOT NULL,  -- what stays the same when it is repeated; of an imported one its sha256
	closed      BIGINT NOT NULL,  -- 0: what the request has; else since when another one may be issued for it
	state       TEXT   NOT NULL,  -- asked, issued, pending, withheld, unknown
	node        TEXT   NOT NULL,
	lease       BIGINT NOT NULL,  -- of an asked one, until when its node may be at it
	upstream    TEXT   NOT NULL,
	profile     TEXT   NOT NULL,
	label       TEXT   NOT NULL,
	op          TEXT   NOT NULL,
	identity    TEXT   NOT NULL,  -- who asked, in words
	spki        BYTEA  NOT NULL,  -- SHA-256 of the SubjectPublicKeyInfo
	serial      TEXT   NOT NULL,  -- in hexadecimal; empty: not known
	own_serial  BIGINT NOT NULL,  -- 1: the serial number was chosen here
	not_before  BIGINT NOT NULL,
	not_after   BIGINT NOT NULL,
	replaces    BYTEA  NOT NULL,  -- SHA-256 of the certificate that was renewed; empty: none
	ref         TEXT   NOT NULL,  -- the CA's
	asked       BIGINT NOT NULL,
	changed     BIGINT NOT NULL,
	sha256      BYTEA  NOT NULL,  -- of the certificate; empty: there is none
	certificate BYTEA  NOT NULL,  -- DER; empty: there is none
	names       TEXT   NOT NULL,  -- subject and alternative names, for searches
	revoked     BIGINT NOT NULL,
	reason      BIGINT NOT NULL,  -- CRLReason (RFC 5280 section 5.3.1)
	by_whom     TEXT   NOT NULL,  -- who has revoked or blocked it
	blocked     BIGINT NOT NULL,
	imported    BIGINT NOT NULL
);
-- Issued at most once.
CREATE UNIQUE INDEX certificates_once ON certificates (request) WHERE closed = 0;
CREATE INDEX certificates_open ON certificates (state, request) WHERE state <> 'issued';
CREATE INDEX certificates_by_serial ON certificates (serial);
CREATE INDEX certificates_by_end ON certificates (not_after);
