// SPDX-License-Identifier: Apache-2.0

package store

// certificateColumns are in the order of values and of scanCertificate.
const certificateColumns = `id, request, closed, state, node, lease, upstream, profile, label, op, identity, spki,
	serial, own_serial, not_before, not_after, replaces, ref, asked, changed, sha256, certificate, names,
	revoked, reason, by_whom, blocked, imported, issuer`

const selectCertificates = `SELECT ` + certificateColumns + ` FROM certificates WHERE `

const insertCertificate = `INSERT INTO certificates (` + certificateColumns + `) VALUES
	($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29)
	ON CONFLICT DO NOTHING`

// values are those of a row. The CA's reference comes with its answer: until then
// what gave way stands in its place.
func (c Certificate) values() []any {
	ref := c.Ref
	if c.State == CertificateAsked {
		ref = c.gaveWay
	}
	return []any{
		c.ID, c.Request[:], millis(c.Closed), string(c.State), c.Node, millis(c.Lease), c.Upstream, c.Profile, c.Label, c.Op, c.Identity, c.SPKI[:],
		c.Serial, number(c.OwnSerial), millis(c.NotBefore), millis(c.NotAfter), hashed(c.Replaces), ref, millis(c.Asked), millis(c.Changed), hashed(c.SHA256),
		there(c.DER), c.Names, millis(c.Revoked), c.Reason, c.By, millis(c.Blocked), millis(c.Imported), c.Issuer,
	}
}

// storable holds that every engine can have the texts of a row.
func (c Certificate) storable() error {
	return wantStorable("text of a certificate", c.ID, c.Node, c.Upstream, c.Profile, c.Label, c.Op, c.Identity, c.Serial, c.Ref, c.Names, c.By, c.Issuer)
}

func scanCertificate(row scanner) (c Certificate, err error) {
	var request, spki, replaces, sha256 []byte
	var closed, lease, own, notBefore, notAfter, asked, changed, revoked, blocked, imported int64
	err = row.Scan(&c.ID, &request, &closed, &c.State, &c.Node, &lease, &c.Upstream, &c.Profile, &c.Label, &c.Op, &c.Identity, &spki,
		&c.Serial, &own, &notBefore, &notAfter, &replaces, &c.Ref, &asked, &changed, &sha256, &c.DER, &c.Names,
		&revoked, &c.Reason, &c.By, &blocked, &imported, &c.Issuer)
	if c.State == CertificateAsked {
		c.Ref, c.gaveWay = "", c.Ref
	}
	copy(c.Request[:], request)
	copy(c.SPKI[:], spki)
	copy(c.Replaces[:], replaces)
	copy(c.SHA256[:], sha256)
	c.OwnSerial = own != 0
	c.Closed, c.Lease, c.NotBefore, c.NotAfter = fromMillis(closed), fromMillis(lease), fromMillis(notBefore), fromMillis(notAfter)
	c.Asked, c.Changed, c.Revoked = fromMillis(asked), fromMillis(changed), fromMillis(revoked)
	c.Blocked, c.Imported = fromMillis(blocked), fromMillis(imported)
	return c, err
}

func number(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

// hashed is a hash as it is stored; none is empty.
func hashed(sum [32]byte) []byte {
	if sum == [32]byte{} {
		return []byte{}
	}
	return sum[:]
}

// there makes no NULL of nothing.
func there(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
