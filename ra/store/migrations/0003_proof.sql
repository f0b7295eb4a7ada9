-- Of a password that was made for identity proofs of CMC (RFC 5272 section
-- 6.2.1): the SHA-256 of it and its id, and that of it alone; then, where it was
-- made for those of the first version too, the SHA-1 of it and its id. NULL: of any
-- other.
ALTER TABLE passwords ADD COLUMN proof BYTEA;
