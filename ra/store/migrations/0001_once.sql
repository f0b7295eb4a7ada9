-- Times are milliseconds since 1970 in UTC; 0 is never. Hashes are SHA-256.
-- The SQL is that which SQLite and PostgreSQL have in common.

-- One-time passwords.
CREATE TABLE passwords (
	id       TEXT   NOT NULL PRIMARY KEY,
	salt     BYTEA  NOT NULL,
	hash     BYTEA  NOT NULL,
	label    TEXT   NOT NULL,
	subject  BYTEA,             -- Name in DER; NULL: free
	san      BYTEA,             -- SubjectAltName in DER; NULL: free
	created  BIGINT NOT NULL,
	serial   BIGINT NOT NULL,   -- in the order made
	expires  BIGINT NOT NULL,
	refusals BIGINT NOT NULL,
	revoked  BIGINT NOT NULL
);
CREATE INDEX passwords_by_label ON passwords (label, created, serial);

-- Device registries.
CREATE TABLE devices (
	id       TEXT   NOT NULL PRIMARY KEY, -- registry/issuer/identity
	registry TEXT   NOT NULL,
	issuer   TEXT   NOT NULL,
	identity TEXT   NOT NULL,
	note     TEXT   NOT NULL,
	state    TEXT   NOT NULL,
	changed  BIGINT NOT NULL,
	UNIQUE (registry, identity, issuer)
);
CREATE INDEX devices_by_identity ON devices (identity, issuer);

-- The certificates that devices were issued.
CREATE TABLE device_certificates (
	certificate BYTEA  NOT NULL,
	device      TEXT   NOT NULL REFERENCES devices (id),
	not_after   BIGINT NOT NULL,
	PRIMARY KEY (certificate, device)
);
CREATE INDEX device_certificates_by_device ON device_certificates (device, not_after);

-- What is reserved for a request, or used up.
CREATE TABLE claims (
	kind      TEXT   NOT NULL,
	id        TEXT   NOT NULL,
	request   BYTEA  NOT NULL,
	spki      BYTEA  NOT NULL,
	holds     BIGINT NOT NULL,  -- requests under way, and those that ended unknown
	until     BIGINT NOT NULL,
	issued    BIGINT NOT NULL,
	collected BIGINT NOT NULL,
	PRIMARY KEY (kind, id)
);
CREATE INDEX claims_by_key ON claims (spki);
