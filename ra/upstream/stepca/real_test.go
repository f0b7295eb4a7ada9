// SPDX-License-Identifier: Apache-2.0

package stepca_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

func open(t testing.TB, cfg stepca.Config) *stepca.Upstream {
	t.Helper()
	up, err := stepca.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

func order(t testing.TB) ra.Order {
	t.Helper()
	return ratest.Order(t, ratest.Case{Now: time.Now()})
}

// subject is a provisioner of step-ca, for the suite.
func subject(ca *stepcatest.CA, cfg stepca.Config) upstreamtest.Subject {
	at := func(t testing.TB, place upstreamtest.Place) ra.Upstream {
		here := cfg
		here.URL, here.Timeout = place.URL, place.Timeout
		return open(t, here)
	}
	return upstreamtest.Subject{
		Open: at, Pins: []*x509.Certificate{ca.Root, ca.Intermediate},
		CA: ca.Fronted(), NoReasons: !ca.Version().Reasons(),
		// Twenty years are more than the provisioner has.
		Refuse: func(t testing.TB) upstreamtest.Refusal {
			long := ratest.Order(t, ratest.Case{Policy: variation(t, "validity: {default: 1d}", "validity: {default: 7300d}")})
			return upstreamtest.Refusal{Upstream: open(t, cfg), Order: long, Says: "answered 403"}
		},
	}
}

// Both versions do the same.
func TestRealStepCA(t *testing.T) { testVersion(t, "") }

func TestRealStepCAOfAnEarlierVersion(t *testing.T) { testVersion(t, stepcatest.Earlier) }

func testVersion(t *testing.T, version stepcatest.Version) {
	ca := stepcatest.Start(t, stepcatest.Options{CRL: true, Version: version})
	configs := map[string]stepca.Config{"JWK": ca.Config(), "X5C": ca.X5CConfig()}
	for name, cfg := range configs {
		t.Run(name+" provisioner", func(t *testing.T) {
			upstreamtest.Run(t, subject(ca, cfg))
			t.Run("the plan is issued to the letter", func(t *testing.T) { testToTheLetter(t, open(t, cfg)) })
			t.Run("names that step-ca would write differently stay as planned", func(t *testing.T) { testOddURI(t, open(t, cfg)) })
			t.Run("an empty subject makes the SAN critical", func(t *testing.T) { testEmptySubject(t, open(t, cfg)) })
			t.Run("a CSR without SAN is no obstacle", func(t *testing.T) { testNoSAN(t, open(t, cfg)) })
			t.Run("a serial number that was never issued is in the CRL once it is revoked", func(t *testing.T) { testRevokeSerial(t, open(t, cfg), ca) })
		})
	}
	t.Run("without our template the CSR's own names don't conform", func(t *testing.T) { testPlain(t, ca) })
	t.Run("the template", func(t *testing.T) { testTemplate(t, ca) })
	t.Run("after a restart it issues again", func(t *testing.T) {
		up := open(t, ca.Config())
		upstreamtest.Issue(t, up, order(t))
		ca.Restart()
		upstreamtest.Issue(t, open(t, ca.Config()), order(t))
	})
	if t.Failed() {
		t.Log(ca.Log())
	}
}

// What was found out about the request reaches step-ca, which can have rules of
// its own about it: RFC 7030 section 3.5 recommends to pass on the result of
// linking.
func TestEvidenceReachesStepCA(t *testing.T) {
	const rule = `{{- if ne $e.evidence.linking "matched" -}}{{- fail "estra: the request was not linked" -}}{{- end -}}
{{- if not (has $e.evidence.binding (list "tls-exporter" "tls-unique")) -}}{{- fail "estra: no type of binding" -}}{{- end -}}
`
	const after = "{{- /* X5C:"
	before, rest, ok := strings.Cut(stepca.Template(), after)
	if !ok {
		t.Fatalf("the template has no %q", after)
	}
	ca := stepcatest.Start(t, stepcatest.Options{Template: before + rule + after + rest})
	up := open(t, ca.Config())
	upstreamtest.Issue(t, up, ratest.Order(t, ratest.Case{Now: time.Now(), Linked: true}))
	_, err := up.Issue(t.Context(), order(t))
	if refused := upstreamtest.Fails(t, err, ra.UpstreamRefused); !strings.Contains(refused.Error(), "the request was not linked") {
		t.Errorf("step-ca refuses an unlinked request with: %v", refused)
	}
}

// testToTheLetter doesn't rely on ra.Conforms.
func testToTheLetter(t *testing.T, up *stepca.Upstream) {
	o := upstreamtest.Rewritten(t, up)
	leaf := upstreamtest.Issue(t, up, o)
	wantSubject := csrtest.Name(csrtest.CN("rewritten.example"), csrtest.O("Rewritten & Sons <Ltd>"))
	if string(leaf.RawSubject) != string(wantSubject) {
		t.Errorf("subject is %x, want %x", leaf.RawSubject, wantSubject)
	}
	if got := leaf.Subject.Organization; !slices.Equal(got, []string{"Rewritten & Sons <Ltd>"}) {
		t.Errorf("O is %q", got)
	}
	if leaf.Subject.CommonName != "rewritten.example" {
		t.Errorf("CN is %q", leaf.Subject.CommonName)
	}
	names := append(append([]string{}, leaf.DNSNames...), leaf.EmailAddresses...)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range leaf.URIs {
		names = append(names, uri.String())
	}
	wantNames := []string{"rewritten.example", "dev@rewritten.example", "192.0.2.7", "2001:db8::7", "https://rewritten.example/id/7"}
	if !slices.Equal(names, wantNames) {
		t.Errorf("SAN is %q, want %q", names, wantNames)
	}
	if leaf.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyAgreement {
		t.Errorf("key usage is %b", leaf.KeyUsage)
	}
	if !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) {
		t.Errorf("extended key usage is %v", leaf.ExtKeyUsage)
	}
	if len(leaf.UnknownExtKeyUsage) != 1 || leaf.UnknownExtKeyUsage[0].String() != "1.3.6.1.4.1.32473.1.7" {
		t.Errorf("unknown extended key usage is %v", leaf.UnknownExtKeyUsage)
	}
	if !leaf.NotBefore.Equal(o.NotBefore()) || !leaf.NotAfter.Equal(o.NotAfter()) {
		t.Errorf("validity is %s to %s, want %s to %s", leaf.NotBefore, leaf.NotAfter, o.NotBefore(), o.NotAfter())
	}
	if want := o.NotBefore().Add(50*time.Hour - time.Second); !leaf.NotAfter.Equal(want) {
		t.Errorf("notAfter is %s, want %s", leaf.NotAfter, want)
	}
	if leaf.SerialNumber.Cmp(o.Serial()) != 0 {
		t.Errorf("serial number is %x, want ours, %x", leaf.SerialNumber, o.Serial())
	}
	if leaf.IsCA {
		t.Error("it is a CA")
	}
	for _, want := range []pkix.Extension{
		{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1, 8}, Value: csrtest.UTF8("not critical")},
		{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 32473, 1, 9}, Critical: true, Value: csrtest.SEQ(csrtest.INTEGER(7))},
	} {
		i := slices.IndexFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(want.Id) })
		if i < 0 || leaf.Extensions[i].Critical != want.Critical || string(leaf.Extensions[i].Value) != string(want.Value) {
			t.Errorf("extension %s isn't there as planned", want.Id)
		}
	}
}

// variation is Permissive with one line changed.
func variation(t testing.TB, from, to string) string {
	t.Helper()
	if !strings.Contains(ratest.Permissive, from) {
		t.Fatalf("the permissive policy has no line %q", from)
	}
	return strings.Replace(ratest.Permissive, from, to, 1)
}

func testOddURI(t *testing.T, up *stepca.Upstream) {
	const odd = "HTTPS://device.example/Odd" // url.URL would write https
	o := ratest.Order(t, ratest.Case{
		Policy: variation(t, `uri: {allow: ["https://**/**"]}`, `uri: {set: "`+odd+`"}`),
		Now:    time.Now(),
	})
	names, err := csr.NamesOf(upstreamtest.Issue(t, up, o))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(names.SAN, func(n csr.GeneralName) bool { return n.Form == csr.URI && n.Value == odd }) {
		t.Errorf("SAN is %v, want %s in it", names.SAN, odd)
	}
}

func testEmptySubject(t *testing.T, up *stepca.Upstream) {
	o := ratest.Order(t, ratest.Case{
		CSR: csrtest.New(t, csrtest.Subject(), csrtest.SAN(csrtest.IP("192.0.2.9"))),
		Now: time.Now(),
	})
	leaf := upstreamtest.Issue(t, up, o)
	i := slices.IndexFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.String() == csrtest.SubjectAltName })
	if i < 0 || !leaf.Extensions[i].Critical {
		t.Error("the SAN isn't critical")
	}
	if string(leaf.RawSubject) != string(csrtest.Name()) {
		t.Errorf("subject is %x, want an empty one", leaf.RawSubject)
	}
}

func testNoSAN(t *testing.T, up *stepca.Upstream) {
	o := ratest.Order(t, ratest.Case{
		CSR: csrtest.New(t, csrtest.Subject(csrtest.SerialNumber("4711"), csrtest.CN("no names here"))),
		Now: time.Now(),
	})
	leaf := upstreamtest.Issue(t, up, o)
	if len(leaf.DNSNames) > 0 {
		t.Errorf("SAN is %q, and none was planned", leaf.DNSNames)
	}
}

// testRevokeSerial revokes what never was: so it can't come later.
func testRevokeSerial(t *testing.T, up *stepca.Upstream, ca *stepcatest.CA) {
	const cessationOfOperation = 5
	want := 0
	if ca.Version().Reasons() {
		want = cessationOfOperation
	}
	serial := order(t).Serial()
	for range 2 {
		if err := up.RevokeSerial(t.Context(), serial, nil, time.Time{}, cessationOfOperation); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.ContainsFunc(crlOf(t, up, ca), func(e x509.RevocationListEntry) bool {
		return e.SerialNumber.Cmp(serial) == 0 && e.ReasonCode == want
	}) {
		t.Errorf("serial %x isn't in the CRL", serial)
	}
}

func crlOf(t *testing.T, up *stepca.Upstream, ca *stepcatest.CA) []x509.RevocationListEntry {
	t.Helper()
	der, err := up.CRL(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(ca.Intermediate); err != nil {
		t.Fatal(err)
	}
	return list.RevokedCertificateEntries
}

func testPlain(t *testing.T, ca *stepcatest.CA) {
	up := open(t, ca.PlainConfig())
	o := upstreamtest.Rewritten(t, up)
	issued, err := up.Issue(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	err = ra.Conforms(issued.Certificate, o, up.Tolerates(), []*x509.Certificate{ca.Intermediate})
	if err == nil {
		t.Fatal("a certificate with the CSR's own names conforms")
	}
	for _, field := range []string{"subject", "extKeyUsage", "extension 1.3.6.1.4.1.32473.1.9", "notAfter", "serial number"} {
		if !strings.Contains(err.Error(), field+": planned") {
			t.Errorf("the differences lack %s: %v", field, err)
		}
	}
	if len(issued.Certificate.Subject.Organization) > 0 {
		t.Error("step-ca took the O out of the token, without a template")
	}
}

func BenchmarkOverhead(b *testing.B) {
	ca := stepcatest.Start(b, stepcatest.Options{})
	for name, cfg := range map[string]stepca.Config{"JWK": ca.Config(), "X5C": ca.X5CConfig()} {
		b.Run(name, func(b *testing.B) { upstreamtest.Overhead(b, subject(ca, cfg)) })
	}
}
