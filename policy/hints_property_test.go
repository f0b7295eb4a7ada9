// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

// A request of the hinted shape, with names made from the profile's own
// patterns, gets no finding except from who, checks and what an expression
// sets.
func TestARequestOfTheHintedShapeHasNoFinding(t *testing.T) {
	for _, profile := range examples(t) {
		t.Run(profile.Name(), func(t *testing.T) {
			hintedRequests(t, profile, profile.Hints(SimpleEnroll), 50, func(Finding) bool { return false })
		})
	}
}

// examples are the profiles of all policies that there are.
func examples(t *testing.T) (all []*Profile) {
	t.Helper()
	var files []string
	for _, pattern := range []string{"../examples/policies/*.yaml", "../examples/*/policy.yaml", "../examples/scenarios/*/policy.yaml", "testdata/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: no policies, %v", pattern, err)
		}
		files = append(files, found...)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.yaml") {
			continue
		}
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		file, err := Parse(name, src)
		if err != nil {
			t.Fatal(err)
		}
		policy, err := Compile(file, os.DirFS(filepath.Dir(name)))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, policy.Profiles()...)
	}
	return all
}

// hintedRequests makes n requests; expected are findings that may be.
func hintedRequests(t *testing.T, p *Profile, hints Hints, n int, expected func(Finding) bool) {
	op := SimpleEnroll
	if !p.Offers(op) {
		op = SimpleReenroll
	}
	if !p.Offers(op) {
		op = ServerKeygen
	}
	if hints.Off || p.operations[op] == nil && p.registrarsOf(op) == nil {
		return // nobody asks for them, or what comes by CMC alone
	}
	s := sampler{t: t, profile: p, names: p.namesFor(op), random: rand.New(rand.NewPCG(1, 2))}
	for range n {
		req := s.request(op, hints)
		for _, f := range req.Decide(p).Findings {
			if strings.HasSuffix(f.Path, ".who.names") {
				continue // who asks: an RA
			}
			if f.Class != BadIdentity && f.Class != BadRenewal && f.Check == "" && !s.expression(f) && !expected(f) {
				t.Fatalf("%s\n%s %v", f, req.Asked().Names.Subject, req.Asked().Names.SAN)
			}
		}
	}
}

// A sampler makes values that patterns take.
type sampler struct {
	t       *testing.T
	profile *Profile
	names   nameRules
	random  *rand.Rand
}

// expression tells a finding that says what an expression sets.
func (s *sampler) expression(f Finding) bool {
	for _, rule := range s.names.subject.rules {
		if rule.setBy != nil && rule.setAt.at == f.Pos {
			return true
		}
	}
	return slices.ContainsFunc(s.names.san.rules, func(r *sanRule) bool { return r.setBy != nil && r.setAt.at == f.Pos })
}

func (s *sampler) request(op Op, h Hints) Arrival {
	options := []csrtest.Option{csrtest.Subject(s.subject(h)...)}
	var san [][]byte
	open := map[string]int{}
	for _, hint := range h.SAN {
		raw := hint.Raw
		if raw == nil {
			raw = s.generalName(hint, open)
		}
		san = append(san, raw)
	}
	if len(san) > 0 {
		options = append(options, csrtest.Extension(csr.OIDSubjectAltName, h.SANCritical, csrtest.SEQ(san...)))
	}
	options = append(options, extensionOptions(s.t, h)...)
	for _, oid := range slices.Concat(h.Linking, h.Attributes) {
		options = append(options, s.attribute(oid, open))
	}
	options = append(options, csrtest.Signer(csrtest.Key(s.t, keyKind(h.Keys[0]))), csrtest.Signature(algorithmOf(h.Signature)))
	parsed, err := csr.Parse(csrtest.New(s.t, options...))
	if err != nil {
		s.t.Fatal(err)
	}
	asked := s.profile.operations[op]
	if asked == nil {
		asked = s.profile.onBehalf
	}
	who := identityOf(s.t, asked.who[0])
	by, _ := NewRegistrar(who, who.Anchors)
	req := Request{Op: op, Linking: Matched, Now: testNow, CSR: parsed, Who: who}
	if op == ServerKeygen {
		if req.Keyless, err = csr.ParseKeyless(parsed.Raw); err != nil {
			s.t.Fatal(err)
		}
		req.CSR, req.Linking = nil, Unproven
	}
	return Arrival{req, by}
}

// attribute gives one with a value for the place where it goes.
func (s *sampler) attribute(oid asn1.ObjectIdentifier, open map[string]int) csrtest.Option {
	switch oid.String() {
	case csr.OIDSMIMECapabilities:
		return csrtest.Attribute(oid.String(), csrtest.SEQ())
	case csr.OIDDecryptKeyID, csr.OIDAsymmDecryptKeyID:
		return csrtest.Attribute(oid.String(), csrtest.Text(4, "id"))
	}
	value := "x"
	entry, _ := s.profile.attributes.treat(oid)
	switch rule := s.names.subject.byOID[oid.String()]; {
	case entry.into == intoSubject:
		value = s.value(&rule.nameRule, open, func(string) bool { return false })
	case len(entry.allow) > 0:
		value = s.sample(entry.allow[0])
	}
	der, err := csr.Name{{csr.NewAttributeValue(oid, value)}}.MarshalDER()
	if err != nil {
		s.t.Fatal(err)
	}
	var pair struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	if _, err := asn1.Unmarshal(der[4:], &pair); err != nil { // within the Name's SEQUENCE and SET
		s.t.Fatal(err)
	}
	return csrtest.Attribute(oid.String(), pair.Value.FullBytes)
}

func extensionOptions(t *testing.T, h Hints) []csrtest.Option {
	var options []csrtest.Option
	if h.KeyUsage != 0 {
		value, err := csr.MarshalKeyUsage(h.KeyUsage)
		if err != nil {
			t.Fatal(err)
		}
		options = append(options, csrtest.Extension(csr.OIDKeyUsage, true, value))
	}
	if len(h.ExtKeyUsage) > 0 {
		value, err := csr.MarshalExtKeyUsage(h.ExtKeyUsage)
		if err != nil {
			t.Fatal(err)
		}
		options = append(options, csrtest.Extension(csr.OIDExtKeyUsage, false, value))
	}
	for _, e := range slices.Concat(h.Extensions, h.Planned) {
		if !is(e.ID, csr.OIDSubjectAltName) {
			options = append(options, csrtest.Extension(e.ID.String(), e.Critical, e.Value))
		}
	}
	for _, oid := range h.Required {
		options = append(options, csrtest.Extension(oid.String(), false, []byte{5, 0}))
	}
	return options
}

func (s *sampler) subject(h Hints) [][]byte {
	var rdns [][]byte
	open := map[string]int{}
	for _, hint := range h.Subject {
		var rdn csr.RDN
		for _, a := range hint {
			value := a.Value
			if value == "" {
				rule := s.names.subject.byOID[a.Type.String()]
				value = s.value(&rule.nameRule, open, func(v string) bool {
					_, _, denied := s.profile.guard.deniesAttribute(a.Type.String(), v)
					return denied
				})
			}
			rdn = append(rdn, csr.NewAttributeValue(a.Type, value))
		}
		der, err := csr.Name{rdn}.MarshalDER()
		if err != nil {
			s.t.Fatal(err)
		}
		rdns = append(rdns, der[2:]) // one RDN, shorter than 128 bytes
	}
	return rdns
}

func (s *sampler) generalName(hint NameHint, open map[string]int) []byte {
	i := slices.IndexFunc(s.names.san.rules, func(r *sanRule) bool {
		return r.kind.key.form == hint.Form && (hint.TypeID == nil || is(hint.TypeID, r.kind.key.typeID))
	})
	rule := s.names.san.rules[i]
	value := s.value(&rule.nameRule, open, func(v string) bool {
		_, _, denied := s.profile.guard.deniesName(rule.kind.key, v)
		return denied
	})
	name, err := rule.kind.key.name(value)
	if err != nil {
		s.t.Fatal(err)
	}
	return name.Raw
}

// value makes one for the next name that is left to the client: each pattern
// under require has its turn.
func (s *sampler) value(rule *nameRule, open map[string]int, denied func(string) bool) string {
	left := slices.DeleteFunc(slices.Clone(rule.required), func(p pattern) bool { return rule.literal(p) != "" })
	from := rule.allow
	if n := open[rule.label]; n < len(left) {
		from = left[n : n+1]
	}
	open[rule.label]++
	for range 1000 {
		value := map[string]string{
			ipForm.name: "192.0.2.9", emailForm.name: "a@x.example", uriForm.name: "https://x.example/",
		}[rule.form.name]
		if len(from) > 0 {
			value = s.sample(from[s.random.IntN(len(from))])
		} else if value == "" {
			value = "x.example"
		}
		if _, err := rule.accepts(value); err == nil && !denied(value) {
			return value
		}
	}
	s.t.Fatalf("no value of %s", rule.label)
	return ""
}

func (s *sampler) sample(p pattern) string {
	if p.prefix.IsValid() {
		addr := p.prefix.Masked().Addr().AsSlice()
		for bit := p.prefix.Bits(); bit < len(addr)*8; bit++ {
			addr[bit/8] |= byte(s.random.IntN(2)) << (7 - bit%8)
		}
		made, _ := netip.AddrFromSlice(addr)
		return made.String()
	}
	text := p.text
	for strings.Contains(text, "**") {
		text = strings.Replace(text, "**", s.label(), 1)
	}
	for strings.Contains(text, "*") {
		text = strings.Replace(text, "*", s.label(), 1)
	}
	return text
}

func (s *sampler) label() string {
	return fmt.Sprintf("%c%d", 'a'+s.random.IntN(26), s.random.IntN(1000))
}

func keyKind(k KeyHint) string {
	switch k.Algorithm {
	case csr.RSA:
		return fmt.Sprintf("rsa%d", k.Bits)
	case csr.ECDSA:
		return k.Curve
	default:
		return "ed25519"
	}
}

func algorithmOf(oid asn1.ObjectIdentifier) x509.SignatureAlgorithm {
	return map[string]x509.SignatureAlgorithm{
		sha256WithRSA: x509.SHA256WithRSA, rsaPSS: x509.SHA256WithRSAPSS,
		"1.2.840.113549.1.1.12": x509.SHA384WithRSA, "1.2.840.113549.1.1.13": x509.SHA512WithRSA,
		ecdsaWithSHA256: x509.ECDSAWithSHA256, ecdsaWithSHA384: x509.ECDSAWithSHA384, ecdsaWithSHA512: x509.ECDSAWithSHA512,
		ed25519: x509.PureEd25519,
	}[oid.String()]
}

// identityOf gives somebody for whom a who line holds, as far as that can be
// made up: the line's own values are then those of the hints.
func identityOf(t *testing.T, line whoLine) Identity {
	var who Identity
	for _, proof := range line.proofs {
		if proof.isHTTP() {
			user := "anna"
			if len(proof.users) > 0 {
				user = proof.users[0].name
			}
			who.Accounts = append(who.Accounts, Account{proof.method, user})
			continue
		}
		names := []string{"CN=device"}
		for _, value := range proof.subject {
			names = append(names, value.name+"="+value.value)
		}
		who.Anchors = append(who.Anchors, proof.anchor)
		var usages []asn1.ObjectIdentifier
		if proof.role {
			usages = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}
		}
		who.Cert = testCert(t, strings.Join(names, "|"), csrtest.Key(t, "P-256/client"), testNow.AddDate(0, -1, 0), testNow.AddDate(0, 1, 0), usages...)
	}
	return who
}
