-- Realms of certificate-less TLS (RFC 5054), and their users.
CREATE TABLE srp_realms (
	realm TEXT  NOT NULL PRIMARY KEY,
	prime TEXT  NOT NULL,   -- the group of all users, by its name
	seed  BYTEA NOT NULL    -- makes the verifiers of those that aren't there
);

CREATE TABLE srp_users (
	realm    TEXT   NOT NULL REFERENCES srp_realms (realm),
	username TEXT   NOT NULL,
	salt     BYTEA  NOT NULL,
	verifier BYTEA  NOT NULL,
	created  BIGINT NOT NULL,
	revoked  BIGINT NOT NULL,
	note     TEXT   NOT NULL,
	PRIMARY KEY (realm, username)
);
