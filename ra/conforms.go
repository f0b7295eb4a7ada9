// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// A Difference is one point in which an issued certificate isn't as planned.
type Difference struct {
	Field string // such as "subject" or "extension 1.2.3"
	Want  string
	Got   string
}

// Differences is the error of Conforms.
type Differences []Difference

// Error lists all differences.
func (d Differences) Error() string {
	texts := make([]string, len(d))
	for i, one := range d {
		texts[i] = fmt.Sprintf("%s: planned %s, issued %s", one.Field, one.Want, one.Got)
	}
	return strings.Join(texts, "; ")
}

func (d *Differences) add(field, want, got string) {
	*d = append(*d, Difference{Field: field, Want: want, Got: got})
}

// startSlack is how much after the planned notBefore a certificate may begin:
// a CA that takes the time from its own clock signs later than we planned.
const startSlack = time.Minute

// Conforms compares what a CA issued with what was decided. The error is
// Differences. Names compare as RFC 5280 section 7.1 does, the SAN and the
// extended key usages as sets; of other extensions it may have those of the
// plan, SKI, AKI, and the ones in t. Issuers are the upstream's issuing
// certificates.
func Conforms(leaf *x509.Certificate, o Order, t Tolerated, issuers []*x509.Certificate) error {
	return conforms(leaf, o, t, leaf != nil && signedByOneOf(leaf, issuers))
}

// conforms is Conforms where the caller has looked for the issuer: signed says
// that it is one of the CA's, and that its key verifies the signature.
func conforms(leaf *x509.Certificate, o Order, t Tolerated, signed bool) error {
	if leaf == nil || !o.Valid() {
		return Differences{{Field: "certificate", Want: "one that was ordered", Got: "none"}}
	}
	var d Differences
	if leaf.Version != 3 {
		d.add("version", "3", fmt.Sprint(leaf.Version))
	}
	if !signed {
		d.add("issuer", "one of the CA's issuing keys", fmt.Sprintf("%q, or a bad signature", leaf.Issuer.String()))
	}
	if !o.byCA && !bytes.Equal(leaf.RawSubjectPublicKeyInfo, o.csr.RawSPKI) { // else checkUpstream looks at it
		d.add("public key", "SHA-256 "+sha256Hex(o.csr.RawSPKI), "SHA-256 "+sha256Hex(leaf.RawSubjectPublicKeyInfo))
	}
	d.serial(leaf, o)
	d.names(leaf, o, t)
	d.usage(leaf, o)
	d.validity(leaf, o, t)
	d.extensions(leaf, o, t)
	if len(d) == 0 {
		return nil
	}
	return d
}

// serial: positive and at most 20 octets (RFC 5280 section 4.1.2.2).
func (d *Differences) serial(leaf *x509.Certificate, o Order) {
	n := leaf.SerialNumber
	if n == nil || n.Sign() <= 0 || n.BitLen() > 159 {
		d.add("serial number", "a positive one of at most 20 octets", fmt.Sprintf("%x", n))
		return
	}
	if o.takesSerial && n.Cmp(o.serial) != 0 {
		d.add("serial number", fmt.Sprintf("%x", o.serial), fmt.Sprintf("%x", n))
	}
}

func (d *Differences) names(leaf *x509.Certificate, o Order, t Tolerated) {
	want := o.plan.Names
	got, err := csr.NamesOf(leaf)
	if err != nil {
		d.add("names", "readable ones", err.Error())
		return
	}
	same := got.Subject.Equal(want.Subject) || t.SubjectOrder && got.Subject.SameRDNs(want.Subject)
	if !same {
		d.add("subject", quote(want.Subject.String()), quote(got.Subject.String()))
	}
	gotSAN, wantSAN := csr.Names{SAN: got.SAN, HasSAN: got.HasSAN}, csr.Names{SAN: want.SAN, HasSAN: want.HasSAN}
	if !gotSAN.Equal(wantSAN) {
		d.add("subjectAltName", sanText(wantSAN), sanText(gotSAN))
	}
	// RFC 5280 section 4.1.2.6: with an empty subject the SAN must be critical.
	if e, ok := extension(leaf, oidSAN); ok && e.Critical != o.plan.SANCritical {
		d.add("subjectAltName critical", fmt.Sprint(o.plan.SANCritical), fmt.Sprint(e.Critical))
	}
}

func (d *Differences) usage(leaf *x509.Certificate, o Order) {
	if leaf.KeyUsage != o.plan.KeyUsage {
		d.add("keyUsage", fmt.Sprintf("%09b", o.plan.KeyUsage), fmt.Sprintf("%09b", leaf.KeyUsage))
	}
	want, got := oidSet(o.plan.ExtKeyUsage), []string(nil)
	if e, ok := extension(leaf, oidEKU); ok {
		var oids []asn1.ObjectIdentifier
		if rest, err := asn1.Unmarshal(e.Value, &oids); err != nil || len(rest) > 0 {
			d.add("extKeyUsage", listText(want), "one that can't be read")
			return
		}
		got = oidSet(oids)
	}
	if !slices.Equal(want, got) {
		d.add("extKeyUsage", listText(want), listText(got))
	}
	if leaf.IsCA {
		d.add("basicConstraints", "no CA", "CA")
	}
}

// validity: never later than planned, and earlier only by what the adapter
// declares.
func (d *Differences) validity(leaf *x509.Certificate, o Order, t Tolerated) {
	t.Backdate += o.waited // the CA may keep to what it was told at first
	if leaf.NotBefore.Before(o.notBefore.Add(-t.Backdate)) || leaf.NotBefore.After(o.notBefore.Add(startSlack)) {
		d.add("notBefore", timeText(o.notBefore)+", at most "+t.Backdate.String()+" before", timeText(leaf.NotBefore))
	}
	shorter := max(t.Backdate, t.Shorter)
	switch {
	case leaf.NotAfter.Before(o.notBefore): // however much shorter a CA may make it
		d.add("notAfter", "after "+timeText(o.notBefore), timeText(leaf.NotAfter))
	case leaf.NotAfter.After(o.notAfter) || leaf.NotAfter.Before(o.notAfter.Add(-shorter)):
		d.add("notAfter", timeText(o.notAfter)+", at most "+shorter.String()+" before", timeText(leaf.NotAfter))
	}
}

func (d *Differences) extensions(leaf *x509.Certificate, o Order, t Tolerated) {
	for _, want := range o.plan.Extensions {
		got, ok := extension(leaf, want.ID)
		switch {
		case !ok:
			d.add("extension "+want.ID.String(), "present", "absent")
		case got.Critical != want.Critical:
			d.add("extension "+want.ID.String()+" critical", fmt.Sprint(want.Critical), fmt.Sprint(got.Critical))
		case !bytes.Equal(got.Value, want.Value):
			d.add("extension "+want.ID.String(), hex.EncodeToString(want.Value), hex.EncodeToString(got.Value))
		}
	}
	for _, got := range leaf.Extensions {
		id := got.Id.String()
		planned := slices.ContainsFunc(o.plan.Extensions, func(e csr.Extension) bool { return e.ID.Equal(got.Id) })
		if planned || slices.Contains(compared, id) {
			continue
		}
		if !slices.Contains(alwaysTolerated, id) && !slices.Contains(t.Extensions, id) {
			d.add("extension "+id, "absent", "present")
		} else if got.Critical {
			d.add("extension "+id, "not critical", "critical")
		}
	}
}

// Extensions of RFC 5280 section 4.2.1.
const (
	oidSKI              = "2.5.29.14"
	oidKeyUsage         = "2.5.29.15"
	oidBasicConstraints = "2.5.29.19"
	oidAKI              = "2.5.29.35"
)

var (
	oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidEKU = asn1.ObjectIdentifier{2, 5, 29, 37}

	// compared are the extensions whose content Conforms compares by field.
	compared        = []string{oidSAN.String(), oidEKU.String(), oidKeyUsage, oidBasicConstraints}
	alwaysTolerated = []string{oidSKI, oidAKI}
)

func extension(leaf *x509.Certificate, id asn1.ObjectIdentifier) (csr.Extension, bool) {
	for _, e := range leaf.Extensions {
		if e.Id.Equal(id) {
			return csr.Extension{ID: e.Id, Critical: e.Critical, Value: e.Value}, true
		}
	}
	return csr.Extension{}, false
}

// oidSet is sorted and without repetition.
func oidSet(oids []asn1.ObjectIdentifier) []string {
	var set []string
	for _, oid := range oids {
		set = append(set, oid.String())
	}
	slices.Sort(set)
	return slices.Compact(set)
}

func sanText(n csr.Names) string {
	if !n.HasSAN {
		return "none"
	}
	var texts []string
	for _, name := range n.SAN {
		texts = append(texts, name.String())
	}
	return quote(strings.Join(texts, ", "))
}

func listText(texts []string) string {
	if len(texts) == 0 {
		return "none"
	}
	return strings.Join(texts, ", ")
}

func quote(s string) string { return fmt.Sprintf("%q", s) }

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
