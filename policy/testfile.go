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
	for _, anchor := range n.get("anchor").oneOrMore() {
		c.Anchors = append(c.Anchors, anchor.value())
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
