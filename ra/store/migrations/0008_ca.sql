-- What a CA of this process has issued and revoked. The serial number is there
-- before the certificate is.
CREATE TABLE ca_certificates (
	issuer    TEXT   NOT NULL,  -- key identifier of the issuing key, hexadecimal
	serial    BYTEA  NOT NULL,  -- big-endian
	ca        TEXT   NOT NULL,
	issued    BIGINT NOT NULL,  -- 0: it isn't known to be
	not_after BIGINT NOT NULL,  -- 0: unknown
	revoked   BIGINT NOT NULL,  -- 0: not
	reason    BIGINT NOT NULL,  -- CRLReason
	until     BIGINT NOT NULL,  -- how long this is kept
	PRIMARY KEY (issuer, serial)
);
CREATE INDEX ca_certificates_revoked ON ca_certificates (issuer, revoked) WHERE revoked > 0;
CREATE INDEX ca_certificates_by_time ON ca_certificates (until);

-- The last CRL of each issuing key.
CREATE TABLE ca_lists (
	issuer      TEXT   NOT NULL PRIMARY KEY,
	number      BIGINT NOT NULL,
	this_update BIGINT NOT NULL,
	next_update BIGINT NOT NULL,
	der         BYTEA  NOT NULL,
	changes     BIGINT NOT NULL, -- revocations so far
	covers      BIGINT NOT NULL  -- of which the list has so many
);
