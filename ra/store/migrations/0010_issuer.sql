-- Which key of a CA of this process has issued a certificate: from here on
-- ca_certificates has what is revoked, and what was issued before.
ALTER TABLE certificates ADD COLUMN issuer TEXT NOT NULL DEFAULT ''; -- key identifier, hexadecimal; empty: another CA
