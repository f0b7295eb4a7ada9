// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

func digestPlan(t testing.TB, subject string, dns ...string) Plan {
	t.Helper()
	name, err := csr.ParseName(subject)
	if err != nil {
		t.Fatal(err)
	}
	p := Plan{
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}, {1, 3, 6, 1, 5, 5, 7, 3, 1}},
		Extensions:  []csr.Extension{{ID: asn1.ObjectIdentifier{1, 2, 3}, Value: []byte{5, 0}}},
		Validity:    time.Hour, Upstream: "internal",
	}
	p.Names.Subject = name
	for _, text := range dns {
		n, err := csr.NewName(csr.DNS, text)
		if err != nil {
			t.Fatal(err)
		}
		p.Names.SAN, p.Names.HasSAN = append(p.Names.SAN, n), true
	}
	return p
}

func digestOf(t testing.TB, p Plan) string {
	t.Helper()
	sum, err := p.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum[:])
}

func TestPlansOfTheSameCertificateHaveOneDigest(t *testing.T) {
	first := digestOf(t, digestPlan(t, "CN=a.example", "a.example", "b.example"))
	for name, c := range map[string]struct {
		change func(*Plan)
		same   bool
	}{
		"nothing":                      {func(*Plan) {}, true},
		"how long it lives":            {func(p *Plan) { p.Validity = time.Minute }, true},
		"the order of names":           {func(p *Plan) { p.Names.SAN[0], p.Names.SAN[1] = p.Names.SAN[1], p.Names.SAN[0] }, true},
		"the order of usages":          {func(p *Plan) { p.ExtKeyUsage[0], p.ExtKeyUsage[1] = p.ExtKeyUsage[1], p.ExtKeyUsage[0] }, true},
		"a name":                       {func(p *Plan) { p.Names.SAN = p.Names.SAN[:1] }, false},
		"the subject":                  {func(p *Plan) { p.Names.Subject = digestPlan(t, "CN=b.example").Names.Subject }, false},
		"the SAN is critical":          {func(p *Plan) { p.SANCritical = true }, false},
		"the key usage":                {func(p *Plan) { p.KeyUsage |= x509.KeyUsageKeyEncipherment }, false},
		"an extended key usage":        {func(p *Plan) { p.ExtKeyUsage = p.ExtKeyUsage[:1] }, false},
		"an extension's value":         {func(p *Plan) { p.Extensions[0].Value = []byte{4, 0} }, false},
		"an extension is critical":     {func(p *Plan) { p.Extensions[0].Critical = true }, false},
		"an extension's identifier":    {func(p *Plan) { p.Extensions[0].ID = asn1.ObjectIdentifier{1, 2, 4} }, false},
		"no extension":                 {func(p *Plan) { p.Extensions = nil }, false},
		"who issues":                   {func(p *Plan) { p.Upstream = "step_ca" }, false},
		"names that are equal to none": {func(p *Plan) { p.Names.SAN = append(p.Names.SAN, csr.GeneralName{}) }, false},
	} {
		p := digestPlan(t, "CN=a.example", "a.example", "b.example")
		c.change(&p)
		sum, err := p.Digest()
		if err == nil && (hex.EncodeToString(sum[:]) == first) != c.same {
			t.Errorf("%s: the digest is the same: %v, want %v", name, !c.same, c.same)
		}
	}
}

// What is stored of a request is compared with the digests of later versions.
func TestAPlansDigestStaysTheSameOverVersions(t *testing.T) {
	const want = "8959290742f940e19a594ceae2a08de54f3cff689b960c4a344f88a8a5dfd960"
	if got := digestOf(t, digestPlan(t, "O=Acme, CN=a.example", "a.example")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func BenchmarkPlanDigest(b *testing.B) {
	p := digestPlan(b, "CN=rtr-7.branch.example.net", "rtr-7.branch.example.net")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Digest(); err != nil {
			b.Fatal(err)
		}
	}
}
