// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"time"
)

// A TestFile is a file of cases for a policy: requests, and what the policy
// is to say of them. It is as strict YAML as a policy is.
type TestFile struct {
	Name  string
	Cases []TestCase
}

// A TestCase is one request with what it wants. Names are spelled as
// csr.ParseName and csr.ParseGeneralName read them. Times that aren't written
// are zero.
type TestCase struct {
	Pos     Pos
	Name    string
	Label   string
	Op      Op
	At      time.Time
	Linking Linking
	Who     TestWho
	CSR     TestCSR
	Renews  *TestCert // nil: the client certificate, on a reenroll
	// HeldBy is the subject of another certificate with the CSR's key.
	HeldBy string
	// Renewed and Enrolled are the chain of the client certificate: how many
	// renewals there were, and since when (zero: since it began).
	Renewed  int
	Enrolled time.Time
	Want     TestWant
}

// TestWho is who asks, as if it had been proven.
type TestWho struct {
	Cert     *TestCert
	Accounts []Account
	Data     Facts
	Claims   Facts
	Password *TestPassword // nil: none
	Device   *TestDevice   // nil: none
	// Inventory is the profile under which the inventory has Cert; empty: none.
	Inventory string
}

// TestPassword is a one-time password, with the names that it was made for.
type TestPassword struct {
	Pos     Pos
	Via     string // ViaBasic, ViaChallenge, ViaProof or ViaProofV1
	Subject string
	SAN     []string
}

// TestDevice is the entry of a registry that the client certificate is of.
type TestDevice struct {
	Registry, Identity string
	State              DeviceState
}

// A TestCert is a certificate that is made, or read from File.
type TestCert struct {
	Pos                 Pos
	Anchors             []string
	File                string
	Subject, Issuer     string
	Serial              string // hexadecimal; "": 1
	SAN                 []string
	NotBefore, NotAfter time.Time
	AnchorEnds          time.Time // of the anchor's own certificate
	// RA makes it one for id-kp-cmcRA that its anchors' own keys signed.
	RA bool
}

// A TestCSR is a request that is made, or read from File.
type TestCSR struct {
	Pos     Pos
	File    string
	Subject string
	SAN     []string
	Key     string // as `--key-type`; empty: P-256
	SameKey bool   // that of the certificate being renewed, or of the client
	// Attributes have text values; Extensions DER in base64.
	Attributes, Extensions []TestValue
	KeyUsage, ExtKeyUsage  []string
	CA                     *bool  // requested basicConstraints; nil: none
	Signature              string // empty: the usual one for the key
	Size                   int64  // in bytes; 0: what the parts need
}

// A TestValue is a value with its name.
type TestValue struct {
	Pos         Pos
	Name, Value string
}

// TestWant is what a case wants. What isn't written isn't looked at.
type TestWant struct {
	Pos      Pos
	Verdict  string
	Gate     string // open, challenge or shut; empty: any
	Findings []TestFinding
	// Only wants no refusal beside those of Findings.
	Only bool
	Plan []TestValue // parts of the plan: subject, san, key_usage, …
}

// A TestFinding is a finding that must be there.
type TestFinding struct {
	Pos    Pos
	Path   string // the whole path, or its end behind a dot
	Effect string // empty: any
}

var (
	instant   = &shape{kind: aTime}
	certShape = &shape{kind: aMap, keys: []key{
		{name: "anchor", is: &shape{kind: oneKind, alts: []*shape{text, texts}}, doc: "the anchors under which it verified"},
		{name: "file", is: text, doc: "a file with the certificate, PEM or DER, beside this one"},
		{name: "subject", is: text, doc: "its subject, such as CN=a,O=b"},
		{name: "issuer", is: text, doc: "its issuer"},
		{name: "serial", is: text, initial: "01", doc: "its serial number, in hexadecimal"},
		{name: "san", is: texts, doc: "its names, such as dns:a.example.net"},
		{name: "role", is: &shape{kind: aWord, words: []string{RoleRA}}, doc: "ra: it has id-kp-cmcRA, and its anchors are issuers of registration authorities"},
		{name: "not_before", is: instant, initial: "90 days before the request", doc: "when it begins"},
		{name: "not_after", is: instant, initial: "10 days after the request", doc: "when it ends"},
		{name: "anchor_ends", is: instant, initial: "100 years after the request", doc: "when the anchor's own certificate ends"},
	}}
	testCaseShape = &shape{kind: aMap, keys: []key{
		{name: "name", is: text, required: true, doc: "what the case shows, once in a file"},
		{name: "label", is: text, doc: "the label of the path"},
		{name: "op", is: &shape{kind: aWord, words: []string{string(SimpleEnroll), string(SimpleReenroll), string(ServerKeygen),
			string(CMCEnroll), string(CMCReenroll)}}, initial: string(SimpleEnroll), doc: "the operation"},
		{name: "at", is: instant, initial: "2026-01-01T00:00:00Z", doc: "when the request comes"},
		{name: "linking", is: &shape{kind: aWord, words: []string{"absent", "matched", "mismatched", "uncomputable", "unproven"}}, initial: "absent", doc: "what the check of the linking value found"},
		{name: "who", is: &shape{kind: aMap, keys: []key{
			{name: "cert", is: certShape, doc: "a client certificate"},
			{name: "basic", is: text, doc: "an account of HTTP Basic"},
			{name: "digest", is: text, doc: "an account of HTTP Digest"},
			{name: "one_time_password", is: &shape{kind: aMap, keys: []key{
				{name: "via", is: &shape{kind: aWord, words: []string{ViaBasic, ViaChallenge, ViaProof, ViaProofV1}}, initial: ViaBasic, doc: "how it came"},
				{name: "subject", is: text, doc: "the subject that it was made for; without it any"},
				{name: "san", is: texts, doc: "the names that it was made for; without them any"},
			}}, doc: "a one-time password that is good"},
			{name: "device", is: &shape{kind: aMap, keys: []key{
				{name: "registry", is: text, required: true, doc: "the registry that lists the client certificate"},
				{name: "identity", is: text, initial: "serialNumber:1", doc: "the device's identity"},
				{name: "state", is: &shape{kind: aWord, words: []string{string(Expected), string(Enrolled), string(Blocked)}},
					initial: string(Expected), doc: "its state"},
			}}, doc: "the device that the client certificate is of"},
			{name: "inventory", is: text, initial: "none", doc: "the profile under which the inventory has the client certificate"},
			{name: "provider", is: &shape{kind: aMap, keys: []key{
				{name: "name", is: text, required: true, doc: "the provider"},
				{name: "user", is: text, required: true, doc: "its user"},
			}}, doc: "an account of a provider"},
			{name: "bearer", is: &shape{kind: aMap, keys: []key{
				{name: "name", is: text, required: true, doc: "the `bearer`"},
				{name: "subject", is: text, required: true, doc: "the subject of its token"},
				{name: "claims", is: text, initial: "none", doc: "the claims of the token, a JSON object as text"},
			}}, doc: "a bearer token"},
			{name: "srp", is: &shape{kind: aMap, keys: []key{
				{name: "realm", is: text, required: true, doc: "the realm"},
				{name: "user", is: text, required: true, doc: "its user"},
			}}, doc: "a user of certificate-less TLS"},
			{name: "data", is: text, initial: "none", doc: "what the webhook says, a JSON object as text"},
		}}, initial: "nobody", doc: "who asks, taken as proven"},
		{name: "csr", is: &shape{kind: aMap, keys: []key{
			{name: "file", is: text, doc: "a file with the request, beside this one"},
			{name: "subject", is: text, doc: "the subject, such as CN=a,O=b"},
			{name: "san", is: texts, doc: "the names, such as dns:a.example.net"},
			{name: "key", is: text, initial: "P-256", doc: "P-256, P-384, P-521, ed25519, rsa2048, …"},
			{name: "same_key", is: boolean, initial: "false", doc: "the key of the certificate that is renewed, or of the client's"},
			{name: "attributes", is: &shape{kind: anyMap, each: text, suggest: knownAttributes}, doc: "PKCS #10 attributes with a text each; decryptKeyID and asymmDecryptKeyID take hexadecimal, smimeCapabilities dotted OIDs"},
			{name: "extensions", is: &shape{kind: anyMap, each: text, suggest: knownExtensions}, doc: "requested extensions, DER in base64"},
			{name: "key_usage", is: keyUsageTexts, doc: "requested key usages"},
			{name: "ext_key_usage", is: extUsageTexts, doc: "requested extended key usages"},
			{name: "ca", is: boolean, initial: "not requested", doc: "requested basicConstraints"},
			{name: "signature", is: &shape{kind: aWord, words: signatureWords()}, initial: "the usual one for the key", doc: "the signature algorithm"},
			{name: "size", is: &shape{kind: aSize}, initial: "what the parts need", doc: "the size of the request in DER"},
		}}, required: true, doc: "the request"},
		{name: "renews", is: certShape, initial: "the client certificate", doc: "the certificate that a reenroll renews"},
		{name: "renewed", is: number, initial: "0", doc: "how many renewals in a row lie between the client certificate and the enrolment, itself among them"},
		{name: "enrolled", is: instant, initial: "when the client certificate begins", doc: "when that enrolment was"},
		{name: "key_held_by", is: text, doc: "the subject of another certificate that has the request's key"},
		{name: "want", is: &shape{kind: aMap, keys: []key{
			{name: "verdict", is: &shape{kind: aWord, words: []string{"allow", "defer", "deny", "fault"}}, required: true, doc: "what the policy is to say"},
			{name: "gate", is: &shape{kind: aWord, words: []string{"open", "challenge", "shut"}}, doc: "what is said before the body is read: shut is 403, challenge 401"},
			{name: "findings", is: &shape{kind: aList, each: &shape{kind: oneKind, alts: []*shape{text, {kind: aMap, keys: []key{
				{name: "path", is: text, required: true, doc: "a policy path, or its end"},
				{name: "effect", is: &shape{kind: aWord, words: []string{string(Refused), string(Required), string(Rewritten), string(Dropped), string(Warned)}}, doc: "what it does"},
			}}}}}, doc: "findings that must be there, by path"},
			{name: "only", is: boolean, initial: "false", doc: "no other line may refuse"},
			{name: "plan", is: &shape{kind: aMap, keys: []key{
				{name: "subject", is: text, doc: "the subject of the certificate"},
				{name: "san", is: texts, doc: "its names"},
				{name: "key_usage", is: keyUsageTexts, doc: "its key usages"},
				{name: "ext_key_usage", is: extUsageTexts, doc: "its extended key usages"},
				{name: "extensions", is: texts, doc: "its further extensions, by name or OID"},
				{name: "validity", is: period, doc: "how long it is valid"},
				{name: "upstream", is: text, doc: "the upstream that issues"},
				{name: "made_key", is: &shape{kind: aWord, words: madeKeyWords()}, doc: "the key that is made for /serverkeygen"},
			}}, doc: "the certificate that is planned"},
		}}, required: true, doc: "what the policy is to say"},
	}}
	testFileShape = &shape{kind: aMap, keys: []key{
		{name: "version", is: number, required: true, doc: "the version of the form, 1"},
		{name: "cases", is: &shape{kind: aList, each: testCaseShape}, required: true, doc: "the cases"},
	}}
)

// ParseTests reads a file of cases. The error is one with ErrNotYAML, or
// Errors with every mistake in file order.
func ParseTests(name string, src []byte) (*TestFile, error) {
	var strict problems
	tree, err := readYAML(name, src, &strict)
	if err != nil {
		return nil, err
	}
	root := node{yaml: tree, at: nodePos(name, tree)}
	check := checker{wrong: strict}
	check.check(root, testFileShape)
	r := testReader{problems: check.wrong, seen: map[string]int{}}
	if version, ok := root.get("version").number(); ok && version != 1 {
		r.add(root.get("version").at, "this version reads test files of version 1, and this is version %d", version)
	}
	file := &TestFile{Name: name}
	for _, item := range root.get("cases").items() {
		file.Cases = append(file.Cases, r.testCase(item))
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return file, nil
}

type testReader struct {
	problems
	seen map[string]int // names of cases, with their lines
}

func (r *testReader) testCase(n node) TestCase {
	name := n.get("name")
	if line, twice := r.seen[name.value()]; twice {
		r.add(name.at, "the name %s is already that of the case on line %d", quote(name.value()), line)
	}
	r.seen[name.value()] = name.at.Line
	r.subject(n.get("key_held_by"))
	c := TestCase{
		Pos: n.at, Name: name.value(), Label: n.get("label").value(), Op: Op(n.get("op").value()), At: instantOf(n.get("at")),
		Linking: linkingOf(n.get("linking").value()), HeldBy: n.get("key_held_by").value(),
		Enrolled: instantOf(n.get("enrolled")),
		CSR:      r.csr(n.get("csr")), Want: r.want(n.get("want")),
	}
	c.Renewed, _ = n.get("renewed").number()
	if c.Op == "" {
		c.Op = SimpleEnroll
	}
	if c.At.IsZero() {
		c.At = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	who := n.get("who")
	c.Who.Cert, c.Renews = r.cert(who.get("cert")), r.cert(n.get("renews"))
	r.accounts(&c.Who, who)
	c.Who.Data = r.facts(who.get("data"))
	c.Who.once(who)
	return c
}

func (r *testReader) facts(n node) Facts {
	facts, err := ParseFacts([]byte(n.value()))
	if err != nil {
		r.add(n.at, "`%s` wants a JSON object as text: %v", n.path, err)
	}
	return facts
}

// once reads the one-time password, the device, and what the inventory has.
func (w *TestWho) once(n node) {
	w.Inventory = n.get("inventory").value()
	if p := n.get("one_time_password"); p.present() {
		w.Password = &TestPassword{Pos: p.at, Via: p.get("via").value(), Subject: p.get("subject").value(), SAN: p.get("san").words()}
		if w.Password.Via == "" {
			w.Password.Via = ViaBasic
		}
	}
	if d := n.get("device"); d.present() {
		w.Device = &TestDevice{d.get("registry").value(), d.get("identity").value(), DeviceState(d.get("state").value())}
		if w.Device.Identity == "" {
			w.Device.Identity = SerialIdentity("1")
		}
		if w.Device.State == "" {
			w.Device.State = Expected
		}
	}
}

func linkingOf(text string) Linking {
	for _, l := range []Linking{Matched, Mismatched, Uncomputable, Unproven} {
		if l.String() == text {
			return l
		}
	}
	return Absent
}

func instantOf(n node) time.Time {
	at, _ := n.instant() // what isn't one, the checker has said
	return at
}

func (r *testReader) cert(n node) *TestCert {
	if !n.present() {
		return nil
	}
	c := &TestCert{
		Pos: n.at, File: n.get("file").value(), Subject: n.get("subject").value(), Issuer: n.get("issuer").value(),
		SAN: n.get("san").words(), NotBefore: instantOf(n.get("not_before")), NotAfter: instantOf(n.get("not_after")),
		AnchorEnds: instantOf(n.get("anchor_ends")), Serial: n.get("serial").value(),
		RA: n.get("role").value() == RoleRA,
	}
	if serial := n.get("serial"); serial.isText() {
		if _, ok := parseSerial(c.Serial); !ok {
			r.add(serial.at, "`%s` wants a serial number in hexadecimal, such as \"0A1B2C\", and this is %s", serial.path, quote(c.Serial))
		}
	}
	r.names(n)
	r.subject(n.get("issuer"))
	if !c.NotBefore.IsZero() && !c.NotAfter.IsZero() && c.NotAfter.Before(c.NotBefore) {
		r.add(n.get("not_after").at, "the certificate ends before it begins")
	}
	if anchor := n.get("anchor"); anchor.isText() {
		c.Anchors = []string{anchor.value()}
	} else {
		c.Anchors = anchor.words()
	}
	beside := slices.DeleteFunc(n.members(), func(m node) bool { return m.name == "file" || m.name == "anchor" || m.name == "role" })
	if c.File != "" && len(beside) > 0 {
		r.add(n.at, "`%s` has a file, and then nothing but `anchor` and `role` beside it", n.path)
	}
	return c
}

func (r *testReader) csr(n node) TestCSR {
	c := TestCSR{
		Pos: n.at, File: n.get("file").value(), Subject: n.get("subject").value(), SAN: n.get("san").words(),
		Key: n.get("key").value(), SameKey: n.get("same_key").on(),
		Attributes: testValues(n.get("attributes")), Extensions: testValues(n.get("extensions")),
		KeyUsage: n.get("key_usage").words(), ExtKeyUsage: n.get("ext_key_usage").words(), Signature: n.get("signature").value(),
	}
	c.Size, _ = n.get("size").size()
	if ca, ok := n.get("ca").boolean(); ok {
		c.CA = &ca
	}
	r.parts(n)
	if c.File != "" && len(n.members()) > 1 {
		r.add(n.at, "`%s` has a file, and then nothing beside it", n.path)
	}
	if c.SameKey && c.Key != "" {
		r.add(n.get("key").at, "`%s` has a meaning only without `same_key`", n.get("key").path)
	}
	return c
}

func testValues(n node) []TestValue {
	var all []TestValue
	for _, member := range n.members() {
		all = append(all, TestValue{member.at, member.name, member.value()})
	}
	return all
}

func (r *testReader) want(n node) TestWant {
	w := TestWant{Pos: n.at, Verdict: n.get("verdict").value(), Gate: n.get("gate").value(), Only: n.get("only").on()}
	r.planned(n.get("plan"))
	for _, item := range n.get("findings").items() {
		f := TestFinding{Pos: item.at, Path: item.value(), Effect: item.get("effect").value()}
		if f.Path == "" {
			f.Path = item.get("path").value()
		}
		w.Findings = append(w.Findings, f)
	}
	for _, part := range n.get("plan").members() {
		value := spelled(part.name, part.value())
		if part.isList() {
			words := part.words()
			for i, word := range words {
				words[i] = spelled(part.name, word)
			}
			slices.Sort(words)
			value = strings.Join(words, ", ")
		}
		if d, ok := part.duration(); ok && part.name == "validity" {
			value = shortDuration(d)
		}
		w.Plan = append(w.Plan, TestValue{part.at, part.name, value})
	}
	return w
}
