-- How certificates go back to an enrolment by other credentials.
CREATE TABLE renewals (
	id       BYTEA  NOT NULL PRIMARY KEY, -- of the certificate, or of its SubjectPublicKeyInfo
	renewals BIGINT NOT NULL,  -- in a row since then
	since    BIGINT NOT NULL,  -- when the enrolment was
	until    BIGINT NOT NULL   -- how long the certificate may be renewed
);
CREATE INDEX renewals_by_time ON renewals (until);
