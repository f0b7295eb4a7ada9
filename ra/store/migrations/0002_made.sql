-- Certificates of keys that were made for devices: what a repeat of the request
-- supersedes.
CREATE TABLE made_certificates (
	request     BYTEA  NOT NULL,  -- what stays the same when it is repeated
	sha256      BYTEA  NOT NULL,  -- of the certificate, which no index could hold
	certificate BYTEA  NOT NULL,  -- DER
	issued      BIGINT NOT NULL,
	PRIMARY KEY (request, sha256)
);
CREATE INDEX made_certificates_by_time ON made_certificates (issued);
