-- Certificates of keys that were made for devices: what a repeat of the request
-- supersedes.
CREATE TABLE made_certificates (
	request     BYTEA  NOT NULL,  -- what stays the same when it is repeated
	certificate BYTEA  NOT NULL,  -- DER
	issued      BIGINT NOT NULL,
	PRIMARY KEY (request, certificate)
);
CREATE INDEX made_certificates_by_time ON made_certificates (issued);
