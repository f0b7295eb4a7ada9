// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func never([sha256.Size]byte, []*x509.Certificate) bool  { return false }
func always([sha256.Size]byte, []*x509.Certificate) bool { return true }

func TestBootstrapTakesTheRootWithTheFingerprint(t *testing.T) {
	ca := newAuthority(t, "Example")
	r := serve(t, ca, ca.server(nil), 0)
	short, long := sha256.Sum256(ca.root.Raw), sha512.Sum512(ca.root.Raw)
	for name, text := range map[string]string{
		"SHA-256":                      hex.EncodeToString(short[:]),
		"SHA-256 with colons":          strings.ToUpper(strings.TrimSuffix(fmt.Sprintf("% x", short), " ")),
		"SHA-512 in upper-case colons": strings.ReplaceAll(fmt.Sprintf("% X", long), " ", ":"),
	} {
		t.Run(name, func(t *testing.T) {
			accept, err := AcceptFingerprint(text)
			if err != nil {
				t.Fatal(err)
			}
			c := &Client{URL: r.URL}
			if err := c.Bootstrap(context.Background(), accept); err != nil {
				t.Fatal(err)
			}
			if len(c.Explicit) != 1 || !c.Explicit[0].Equal(ca.root) {
				t.Fatalf("%d anchors, want the root alone", len(c.Explicit))
			}
			if _, err := c.Enroll(context.Background(), newKey(t), device(t, "a.example")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBootstrapSendsNothingThatIsOurs(t *testing.T) {
	ca := newAuthority(t, "Example")
	r := serve(t, ca, ca.server(nil), 0)
	mine := ca.server(nil)
	c := &Client{URL: r.URL, Basic: &Credentials{"device", "hunter2"}, Certificate: &mine, Link: true}
	if err := c.Bootstrap(context.Background(), never); !errors.Is(err, ErrNotAccepted) {
		t.Fatalf("error %v, want ErrNotAccepted", err)
	}
	_, err := c.Enroll(context.Background(), newKey(t), device(t, "a.example"))
	if !errors.Is(err, ErrNotAccepted) {
		t.Errorf("Enroll: %v, want ErrNotAccepted", err)
	}
	if _, err = c.CSRAttrs(context.Background()); !errors.Is(err, ErrNotAccepted) {
		t.Errorf("CSRAttrs: %v, want ErrNotAccepted", err)
	}
	if _, err = c.CACerts(context.Background()); !errors.Is(err, ErrNotAccepted) {
		t.Errorf("CACerts: %v, want ErrNotAccepted", err)
	}
	if _, err = c.Reenroll(context.Background(), mine, newKey(t)); !errors.Is(err, ErrNotAccepted) {
		t.Errorf("Reenroll: %v, want ErrNotAccepted", err)
	}
	if len(c.Explicit) != 0 {
		t.Error("a refused root became an anchor")
	}
	list := r.seen()
	if len(list) != 1 || list[0].method != "GET" || list[0].path != "/.well-known/est/cacerts" {
		t.Fatalf("the server received %+v, want one GET of /cacerts", list)
	}
	if list[0].authorization != "" || list[0].certificates != 0 {
		t.Errorf("the unknown server received authorization %q and %d certificates", list[0].authorization, list[0].certificates)
	}
}

// An impostor that relays the true CA certificates is found out by TLS.
func TestAfterBootstrapTheServerMustVerify(t *testing.T) {
	ca, stranger := newAuthority(t, "Example"), newAuthority(t, "Stranger")
	r := serve(t, ca, stranger.server(nil), 0)
	c := &Client{URL: r.URL, Basic: &Credentials{"device", "hunter2"}}
	if err := c.Bootstrap(context.Background(), always); err != nil {
		t.Fatal(err)
	}
	_, err := c.Enroll(context.Background(), newKey(t), device(t, "a.example"))
	if err == nil || !strings.Contains(err.Error(), "does not verify under the explicit trust anchors") {
		t.Errorf("error %v", err)
	}
	if n := len(r.seen()); n != 1 {
		t.Errorf("the impostor received %d requests, want the first /cacerts alone", n)
	}
}

func TestBootstrapAsksAboutSelfSignedCertificatesOnly(t *testing.T) {
	ca := newAuthority(t, "Example")
	r := serve(t, ca, ca.server(nil), 0)
	asked := 0
	c := &Client{URL: r.URL}
	err := c.Bootstrap(context.Background(), func(fingerprint [32]byte, certs []*x509.Certificate) bool {
		asked++
		if !certs[0].Equal(ca.root) || len(certs) != 2 || fingerprint != sha256.Sum256(ca.root.Raw) {
			t.Errorf("asked about %s", certs[0].Subject)
		}
		return true
	})
	if err != nil || asked != 1 {
		t.Errorf("asked %d times, error %v", asked, err)
	}
	fingerprint := sha256.Sum256(ca.intermediate.Raw)
	accept, err := AcceptFingerprint(hex.EncodeToString(fingerprint[:]))
	if err != nil {
		t.Fatal(err)
	}
	if err := (&Client{URL: r.URL}).Bootstrap(context.Background(), accept); !errors.Is(err, ErrNotAccepted) {
		t.Errorf("the fingerprint of an intermediate: %v, want ErrNotAccepted", err)
	}
}

func TestBootstrapWithoutAcceptAcceptsNothing(t *testing.T) {
	ca := newAuthority(t, "Example")
	r := serve(t, ca, ca.server(nil), 0)
	if err := (&Client{URL: r.URL}).Bootstrap(context.Background(), nil); !errors.Is(err, ErrNotAccepted) {
		t.Errorf("error %v, want ErrNotAccepted", err)
	}
}

func TestFingerprintsThatAreNone(t *testing.T) {
	for _, text := range []string{"", "ab", "zz", strings.Repeat("0", 63), strings.Repeat("0", 66), strings.Repeat("0", 40), "sha1"} {
		if _, err := AcceptFingerprint(text); err == nil {
			t.Errorf("%q is taken for a fingerprint", text)
		}
	}
}

func FuzzAcceptFingerprint(f *testing.F) {
	f.Add("AB:cd")
	f.Add(strings.Repeat("00 ", 32))
	f.Add(strings.Repeat("f", 128))
	cert := &x509.Certificate{Raw: []byte{1}}
	f.Fuzz(func(t *testing.T, text string) {
		accept, err := AcceptFingerprint(text)
		if err == nil && accept([32]byte{}, []*x509.Certificate{cert}) && strings.Trim(text, "0: \t\r\n\v\f\u0085\u00a0") != "" {
			t.Errorf("%q accepts a fingerprint of zeros", text)
		}
	})
}
