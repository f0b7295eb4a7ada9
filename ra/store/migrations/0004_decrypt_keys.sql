-- Keys of devices for which private keys are encrypted.
CREATE TABLE decrypt_keys (
	device     TEXT   NOT NULL REFERENCES devices (id),
	is_public  BIGINT NOT NULL,   -- 1: a certificate or a SubjectPublicKeyInfo, DER; 0: an AES key, sealed
	key_id     BYTEA  NOT NULL,
	value      BYTEA  NOT NULL,
	PRIMARY KEY (device, is_public, key_id)
);
