// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/ratest"
)

// Caddy carries an exit code above 1 in an error with this text.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	right, wrong, text := filepath.Join(dir, "right.yaml"), filepath.Join(dir, "wrong.yaml"), filepath.Join(dir, "text.yaml")
	for name, content := range map[string]string{right: demoPolicy, wrong: "version: 2", text: "a: [b"} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ args, want string }{
		{"policy check " + right, ""},
		{"policy check " + wrong, "exiting with status 2"},
		{"policy check " + text, "exiting with status 3"},
		{"policy check " + filepath.Join(dir, "none"), "exiting with status 3"},
		{"policy explain " + right + " --csr " + right, "exiting with status 2"},
		{"policy explain " + right, "exiting with status 3"},
		{"step-ca template", ""},
		{"step-ca provisioner", "exiting with status 3"},
		{"client cacerts", "exiting with status 3"},
		{"upstream resume a b --address 127.0.0.1:1", "exiting with status 3"},
		{"frobnicate", `unknown command "frobnicate" for "est"`},
		{"policy check", "accepts 1 arg(s), received 0"},
	} {
		cmd := &cobra.Command{Use: "est", SilenceUsage: true, SilenceErrors: true}
		caddycmd.Commands()["est"].CobraFunc(cmd)
		cmd.SetArgs(strings.Fields(test.args))
		cmd.SetOut(new(bytes.Buffer))
		cmd.SetErr(new(bytes.Buffer))
		got := ""
		if err := cmd.Execute(); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.args, got, test.want)
		}
	}
}

func TestOnlyTheWholeWordYesAccepts(t *testing.T) {
	root := ratest.NewRoot(t, "A\x1b[31mroot").Certificate
	sum := sha256.Sum256(root.Raw)
	for answer, want := range map[string]bool{
		"yes\n": true, " yes \n": true, "yes": true,
		"y\n": false, "Yes\n": false, "no\n": false, "\n": false, "": false, "yes please\n": false,
	} {
		var out bytes.Buffer
		if got := ask(strings.NewReader(answer), &out)(sum, []*x509.Certificate{root}); got != want {
			t.Errorf("%q accepts: %v", answer, got)
		}
		if !strings.Contains(out.String(), fingerprint(root)) || strings.Contains(out.String(), "\x1b") {
			t.Errorf("shown: %q", out.String())
		}
	}
}

func TestDemonstrationPolicyIsRight(t *testing.T) {
	file, err := policy.Parse("demo_policy.yaml", []byte(demoPolicy))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	environment := policy.Environment{
		Anchors:   []string{"ours"},
		Upstreams: map[string]policy.Capabilities{"internal": {Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true}},
	}
	if err := compiled.Bind(environment); err != nil {
		t.Error(err)
	}
}

func TestKeysAreMadeOnceAndReadAgain(t *testing.T) {
	for _, kind := range []string{"P-256", "P-384", "P-521", "ed25519", "rsa2048"} {
		name := filepath.Join(t.TempDir(), "key.pem")
		made, err := keyFile(name, kind)
		if err != nil {
			t.Fatal(err)
		}
		read, err := keyFile(name, "nonsense")
		if err != nil {
			t.Fatal(err)
		}
		if !made.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(read.Public()) {
			t.Errorf("%s: another key was read than was made", kind)
		}
	}
}

func TestKeyErrorsTellNothingOfTheKey(t *testing.T) {
	secret := "c2VjcmV0LXNlY3JldA=="
	for _, kind := range []string{"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "CERTIFICATE"} {
		data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(secret)})
		_, err := parseKey("key.pem", data)
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		if key, err := parseKey("key.pem", data); err == nil && key.Public() == nil {
			t.Error("a key without a public half")
		}
	})
}

func FuzzIdentity(f *testing.F) {
	f.Add("basic:device")
	f.Add("provider:ldap:x")
	f.Add("provider::x")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(text, "cert:") {
			return // reads a file
		}
		who, err := identity([]string{text})
		if err == nil && (len(who.Accounts) != 1 || who.Accounts[0].User == "" || who.Accounts[0].Method == "" || who.Cert != nil) {
			t.Errorf("%q is %+v", text, who)
		}
	})
}

func TestTheLastCertificateOfAChainIsTheAnchors(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	device := root.Device(t, "device.example")
	dir := t.TempDir()
	alone, chain := filepath.Join(dir, "alone.pem"), filepath.Join(dir, "chain.pem")
	for name, content := range map[string][]byte{alone: certificatesPEM(device.Leaf), chain: certificatesPEM(device.Leaf, root.Certificate)} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	who, err := identity([]string{"cert:ours:" + chain, "cert:idevid:" + alone, "cert:ours:" + alone})
	if err != nil || !who.Cert.Equal(device.Leaf) || !slices.Equal(who.Anchors, []string{"ours", "idevid"}) {
		t.Fatalf("%+v, %v", who, err)
	}
	if len(who.AnchorEnds) != 2 || !who.AnchorEnds[0].Equal(root.Certificate.NotAfter) || !who.AnchorEnds[1].IsZero() {
		t.Errorf("the anchors end on %v", who.AnchorEnds)
	}
}

func TestFindingsNameTheLineOfThePolicy(t *testing.T) {
	log := []byte("no JSON\n" +
		`{"msg":"something else"}` + "\n" +
		`{"msg":"request","record":{"id":"other"}}` + "\n" +
		`{"msg":"request","record":{"id":"abc","decision":{"verdict":"deny","findings":[` +
		`{"path":"x","line":3,"effect":"refused","got":"a","want":"b"},{"path":"y","line":9999,"effect":"required"},{"path":"z","effect":"rewritten"}]}}}` + "\n")
	record, text := findRecord(log, "abc")
	if record == nil || !strings.HasPrefix(text, `{"id":"abc",`) {
		t.Fatalf("the record isn't found: %q", text)
	}
	got := findings(record)
	if len(got) != 3 || !slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "policy.yaml:3: version: 1") }) {
		t.Errorf("%q", got)
	}
	if other, _ := findRecord(log, "ab"); other != nil {
		t.Error("another record was found")
	}
}

func FuzzFindRecord(f *testing.F) {
	f.Add([]byte(`{"record":{"id":"abc","decision":{"findings":[{"line":-1,"effect":"refused"}]}}}`))
	f.Fuzz(func(_ *testing.T, log []byte) {
		if record, _ := findRecord(log, "abc"); record != nil {
			_, _ = findings(record), summary(record)
		}
	})
}
