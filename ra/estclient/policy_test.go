// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"crypto"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/csrattrs"
)

func testPolicy(t *testing.T, name string) *policy.Policy {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("testdata", "policies", name))
	if err != nil {
		t.Fatal(err)
	}
	file, err := policy.Parse(name, src)
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.Compile(file, os.DirFS(filepath.Join("testdata", "policies")))
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// keyFor makes the first key that is wanted.
func keyFor(t *testing.T, w csrattrs.Wanted) crypto.Signer {
	t.Helper()
	switch first := w.Keys[0]; first.Algorithm {
	case csr.RSA:
		return csrtest.Key(t, fmt.Sprintf("rsa%d", first.Bits))
	case csr.ECDSA:
		return csrtest.Key(t, first.Curve)
	default:
		return csrtest.Key(t, "ed25519")
	}
}

// From the policy to the bytes of /csrattrs, and by the client's request back
// to the policy: what the device says of itself is its name.
func TestARequestThatFollowsCSRAttrsIsGranted(t *testing.T) {
	for _, test := range []struct {
		file, label, subject, san string
		form                      csr.NameForm
		// rewritten is what the list can't say, and the certificate has.
		rewritten string
	}{
		{"routers.yaml", "branch", "rtr-7.branch.example.net", "rtr-7.branch.example.net", csr.DNS, "subject attribute O"},
		{"routers.yaml", "core", "core-7.net.example.net", "core-7.net.example.net", csr.DNS, ""},
		{"iot.yaml", "sensors", "", "urn:example:sensor:7", csr.URI, ""},
		{"printers.yaml", "printers", "prn-7.print.example.net", "", 0, "subject attribute O"},
	} {
		for _, format := range []policy.HintFormat{policy.HintList, policy.HintTemplate, policy.HintBoth} {
			t.Run(fmt.Sprint(test.label, " ", format), func(t *testing.T) {
				profile, ok := testPolicy(t, test.file).Profile(test.label)
				if !ok {
					t.Fatal("no such label")
				}
				hints := profile.Hints(policy.SimpleEnroll)
				hints.Format = format
				der, err := csrattrs.Encode(hints)
				if err != nil {
					t.Fatal(err)
				}
				list, err := csrattrs.Parse(der)
				if err != nil {
					t.Fatal(err)
				}
				wanted, err := csrattrs.Read(list)
				if err != nil {
					t.Fatal(err)
				}
				var ours Template
				if test.subject != "" {
					ours.Names.Subject = subjectOf("CN", test.subject)
				}
				if test.san != "" {
					ours.Names.SAN = []csr.GeneralName{generalName(t, test.form, test.san)}
				}
				checkGranted(t, profile, wanted, ours, test.rewritten, format != policy.HintList)
			})
		}
	}
}

func checkGranted(t *testing.T, profile *policy.Profile, wanted csrattrs.Wanted, ours Template, rewritten string, template bool) {
	t.Helper()
	filled, err := ours.Fill(wanted)
	if err != nil {
		t.Fatal(err)
	}
	der, err := Request(rand.Reader, keyFor(t, wanted), filled, "")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := csr.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	decision := profile.Decide(policy.Request{Op: policy.SimpleEnroll, Linking: policy.Matched, CSR: parsed, Now: time.Now()})
	for _, f := range decision.Findings {
		known := !template && f.Effect == policy.Rewritten && rewritten != "" && strings.Contains(f.Message, rewritten)
		if f.Class != policy.BadIdentity && !known {
			t.Errorf("%s\n%s", f, namesText(parsed.Names))
		}
	}
}

// What is left out is refused by its name.
func TestARequestThatLeavesOutWhatCSRAttrsDemandsIsRefused(t *testing.T) {
	const text = `
version: 1
name: demands
default: all
profiles:
  all:
    enroll: {who: [{http_basic: {users: [u]}}], linking: required}
    subject: {CN: {require: true, allow: ["*"]}, OU: {require: [Web, "Mail *"]}}
    san: {dns: {require: true, allow: ["*.example"]}}
    key: {ecdsa: [P-256], signatures: [ECDSA-SHA384]}
    attributes: {require: [macAddress]}
    extensions: {require: [tlsFeature]}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
`
	file, err := policy.Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	profile, _ := compiled.Profile("")
	der, err := Request(rand.Reader, csrtest.Key(t, "P-384"), Template{Names: csr.Names{Subject: subjectOf("OU", "Web")}}, "")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := csr.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	parsed.SignatureOID = []int{1, 2, 840, 10045, 4, 3, 2}
	decision := profile.Decide(policy.Request{
		Op: policy.SimpleEnroll, CSR: parsed, Now: time.Now(),
		Who: policy.Identity{Accounts: []policy.Account{{Method: "http_basic", User: "u"}}},
	})
	if decision.Verdict != policy.Deny {
		t.Errorf("%s", decision.Verdict)
	}
	var all []string
	for _, f := range decision.Findings {
		all = append(all, string(f.Effect)+": "+f.Message)
	}
	for _, want := range []string{
		"required: the request has no linking", "required: the request has no subject attribute CN", `required: the request has no subject attribute OU that is "Mail *"`,
		"required: the request has no DNS name in the SAN", "refused: the key is ECDSA P-384", "refused: the request is signed with ECDSA-SHA256",
		"required: the request has no attribute macAddress", "required: the request has no extension tlsFeature",
	} {
		if !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("nothing says %q:\n%s", want, strings.Join(all, "\n"))
		}
	}
}
