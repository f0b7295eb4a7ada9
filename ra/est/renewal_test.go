// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
)

// renewals is a policy with a window, and one with a pin.
const renewals = `
version: 1
name: policy of the renewal tests
default: late
profiles:
  late:
    reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present, window: 25%, same_key: forbid}
BODY
  pinned:
    labels: [pinned]
    enroll: {who: [{client_cert: {anchor: idevid, spki_sha256: "PIN"}}], linking: if_present}
BODY
`

// renewalSite pins the key of a device of the vendor's.
func renewalSite(t *testing.T) (x *site, pinned tls.Certificate) {
	t.Helper()
	return newSite(t, func(x *site) {
		pinned = x.device("device.example")
		pin := sha256.Sum256(pinned.Leaf.RawSubjectPublicKeyInfo)
		under(strings.NewReplacer("BODY", strings.Trim(body, "\n"), "PIN", hex.EncodeToString(pin[:])).Replace(renewals))(x)
	}), pinned
}

// Who has stolen a key can't renew for ever: not at any time, not with the key,
// and not for another name.
func TestThreat_AStolenKeyDoesNotRenewForEver(t *testing.T) {
	x, _ := renewalSite(t)
	device := func(begun, left time.Duration) tls.Certificate {
		return x.ca.Intermediate.Device(t, "device.example", func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().Add(-begun), time.Now().Add(left)
		})
	}
	const day = 24 * time.Hour
	late := device(9*day, day)
	names := func(name string, more ...csrtest.Option) string {
		return csrBody(t, append(more, csrtest.Subject(csrtest.CN(name)), csrtest.SAN(csrtest.DNS(name)))...)
	}
	for _, c := range []struct {
		name         string
		with         tls.Certificate
		body         string
		status       int
		kind, public string
	}{
		{"too early", device(5*day, 5*day), names("device.example"), 403, "bad_renewal", "certificate cannot be renewed here"},
		{"too late", device(9*day, -time.Hour), names("device.example"), 403, "unauthenticated", "authentication required"},
		{"with its own key", late, names("device.example", csrtest.Signer(late.PrivateKey.(crypto.Signer))), 403, "key_reuse", "key must change"},
		{"for another name", late, names("other.example"), 403, "bad_renewal", "certificate cannot be renewed here"},
	} {
		t.Run(c.name, func(t *testing.T) {
			x.refused(t, x.do(call{path: "simplereenroll", certs: certOf(c.with), body: c.body}), c.status, c.kind, c.public)
		})
	}
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
	if g := x.do(call{path: "simplereenroll", certs: certOf(late), body: names("device.example")}); g.StatusCode != 200 {
		t.Errorf("in time, with a new key: %d %s", g.StatusCode, g.body)
	}
}

// A pin is the hash of the whole key: no name stands for it (CVE-2025-6037).
func TestThreat_APinnedKeyIsComparedInFull(t *testing.T) {
	x, pinned := renewalSite(t)
	enrol := func(c tls.Certificate) got { return x.do(call{path: "pinned/simpleenroll", certs: certOf(c)}) }
	x.refused(t, enrol(x.device("device.example", func(c *x509.Certificate) { c.SerialNumber = pinned.Leaf.SerialNumber })),
		403, "unauthenticated", "authentication required")
	if g := enrol(pinned); g.StatusCode != 200 {
		t.Errorf("the pinned key: %d %s", g.StatusCode, g.body)
	}
	key := pinned.PrivateKey.(crypto.Signer)
	again := *pinned.Leaf
	again.SerialNumber, again.Subject.CommonName = big.NewInt(77), "renamed.example"
	leaf := x.vendor.Sign(t, &again, key.Public())
	if g := enrol(tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}); g.StatusCode != 200 {
		t.Errorf("the pinned key in another certificate: %d %s", g.StatusCode, g.body)
	}
}
