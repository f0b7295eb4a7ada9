// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

func TestRequestIsSignedByEveryKindOfKey(t *testing.T) {
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	modulus, _ := rsa.GenerateKey(rand.Reader, 2048)
	keys := map[string]crypto.Signer{"Ed25519": edwards, "RSA": modulus}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		keys[curve.Params().Name], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			der, err := Request(rand.Reader, key, device(t, "a.example"), "")
			if err != nil {
				t.Fatal(err)
			}
			request, err := x509.ParseCertificateRequest(der)
			if err != nil {
				t.Fatal(err)
			}
			if err := request.CheckSignature(); err != nil {
				t.Error(err)
			}
			if request.Subject.CommonName != "a.example" || !slices.Equal(request.DNSNames, []string{"a.example"}) {
				t.Errorf("it is for %s, %v", request.Subject, request.DNSNames)
			}
		})
	}
}

func TestRequestRefusesKeysThatItCannotUse(t *testing.T) {
	small, _ := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	for name, key := range map[string]crypto.Signer{"none": nil, "P-224": small} {
		if _, err := Request(rand.Reader, key, Template{}, ""); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
}

func TestRequestHoldsWhatTheTemplateSays(t *testing.T) {
	template := device(t, "a.example")
	template.Extensions = []csr.Extension{{ID: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
	template.Attributes = []csr.Attribute{{Type: asn1.ObjectIdentifier{1, 3, 6, 1, 1, 1, 1, 22}, Values: [][]byte{{22, 1, 'x'}}}}
	der, err := Request(rand.Reader, newKey(t), template, "AAECAwQFBgcICQoL")
	if err != nil {
		t.Fatal(err)
	}
	request, err := csr.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := request.CheckPOP(); err != nil {
		t.Error(err)
	}
	if len(request.Extensions) != 2 || !request.Extensions[1].Critical || !bytes.Equal(request.Extensions[1].Value, []byte{5, 0}) {
		t.Errorf("extensions %+v", request.Extensions)
	}
	challenge, ok := request.Attribute("1.2.840.113549.1.9.7")
	if !ok || len(challenge.Values) != 1 || string(challenge.Values[0]) != "\x13\x10AAECAwQFBgcICQoL" {
		t.Errorf("challengePassword %q", challenge.Values)
	}
	if _, ok := request.Attribute("1.3.6.1.1.1.1.22"); !ok {
		t.Error("macAddress is lost")
	}
}

func TestRequestWithoutNamesHasAnEmptySubjectAndNoSAN(t *testing.T) {
	der, err := Request(rand.Reader, newKey(t), Template{}, "")
	if err != nil {
		t.Fatal(err)
	}
	request, err := csr.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	if len(request.Names.Subject) != 0 || request.Names.HasSAN || len(request.Attributes) != 0 {
		t.Errorf("%+v", request.Names)
	}
}

func TestEndpoints(t *testing.T) {
	for _, test := range []struct{ url, label, want string }{
		{"https://est.example", "", "https://est.example/.well-known/est/cacerts"},
		{"https://est.example:8443/", "routers", "https://est.example:8443/.well-known/est/routers/cacerts"},
		{"https://[::1]:8443", "a-b._~9", "https://[::1]:8443/.well-known/est/a-b._~9/cacerts"},
		{"http://est.example", "", "want https://"},
		{"est.example", "", "want https://"},
		{"https://", "", "want https://"},
		{"https://est.example/.well-known/est", "", "nothing may follow"},
		{"https://est.example?x", "", "nothing may follow"},
		{"https://a:hunter2@est.example", "", "nothing may follow"},
		{"https://est.example", "simpleenroll", "name of an operation"},
		{"https://est.example", "..", "no path segment"},
		{"https://est.example", "a/b", "only letters"},
		{"https://est.example", "ä", "only letters"},
		{"https://\x7f", "", "EST server"},
	} {
		got := ""
		u, err := (&Client{URL: test.url, Label: test.label}).Endpoint(policy.CACerts)
		if err != nil {
			got = err.Error()
		} else {
			got = u.String()
		}
		if !strings.Contains(got, test.want) || strings.Contains(got, "hunter2") {
			t.Errorf("%q with label %q gives %q, want %q", test.url, test.label, got, test.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"120": 2 * time.Minute, " 7 ": 7 * time.Second, "0": 0, "": 0, "-1": 0, "soon": 0, "1.5": 0,
		"99999999999999999999":                      0,
		now.Add(time.Hour).Format(http.TimeFormat):  time.Hour,
		now.Add(-time.Hour).Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q is %s, want %s", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("120")
	f.Add("Wed, 02 Jan 2030 03:04:05 GMT")
	f.Fuzz(func(t *testing.T, value string) {
		if got := retryAfter(value, time.Unix(0, 0)); got < 0 {
			t.Errorf("%q is %s", value, got)
		}
	})
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[0m\r\nb\u202e\xff")
	f.Fuzz(func(t *testing.T, text string) {
		got := printable(text, 20)
		if len(got) > 20 || strings.ContainsAny(got, "\x00\x1b\r\n\t\u202e") {
			t.Errorf("%q is shown as %q", text, got)
		}
	})
}

func TestPasswordsAreNotShown(t *testing.T) {
	c := Credentials{User: "device", Password: "hunter2"}
	encoded, _ := json.Marshal(c)
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q %x", c, c, c, c.Password, c.Password, c.Password), string(encoded)} {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") {
			t.Errorf("shown: %s", text)
		}
	}
}
