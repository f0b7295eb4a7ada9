// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// estFiles are the root of an EST server, an RA certificate, a certificate that
// is for no RA, and their keys.
func estFiles(t *testing.T) (dir string, ra, device tls.Certificate) {
	t.Helper()
	dir = t.TempDir()
	ca := ratest.NewCA(t)
	ra = ca.Intermediate.Device(t, "ra.example", func(c *x509.Certificate) {
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}
	})
	device = ca.Intermediate.Device(t, "device.example")
	save := func(name string, text []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name, kind string, list ...[]byte) {
		var text []byte
		for _, der := range list {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
		}
		save(name, text)
	}
	put("root.pem", "CERTIFICATE", ca.Root.Certificate.Raw)
	put("intermediate.pem", "CERTIFICATE", ca.Intermediate.Certificate.Raw)
	for name, pair := range map[string]tls.Certificate{"ra": ra, "device": device} {
		key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		put(name+".pem", "CERTIFICATE", pair.Certificate...)
		put(name+".key", "PRIVATE KEY", key)
	}
	save("none.pem", []byte("none"))
	return dir, ra, device
}

func TestAnESTServerOfFiles(t *testing.T) {
	dir, own, _ := estFiles(t)
	t.Setenv("ESTRA_DIR", dir)
	u := &ESTServer{
		addressOptions: addressOptions{URL: "https://est.example", Root: "{env.ESTRA_DIR}/root.pem"},
		clientOptions:  clientOptions{TLSRoot: "{env.ESTRA_DIR}/root.pem", Certificate: "{env.ESTRA_DIR}/ra.pem", Key: "{env.ESTRA_DIR}/ra.key"},
		Label:          "routers",
	}
	if err := u.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if want := "est https://est.example routers"; u.Identity() != want {
		t.Errorf("identity %q, want %q", u.Identity(), want)
	}
	if end := u.Expiries()["ra_certificate"]; !end.Equal(own.Leaf.NotAfter) {
		t.Errorf("it ends on %s, want %s", end, own.Leaf.NotAfter)
	}
	if u.WantsOwn() || len(u.Pins()) != 1 {
		t.Error("it has a certificate, and a root")
	}
	if can := u.Carries(); can.Subject || !can.KeyUsage {
		t.Errorf("it carries %+v", can)
	}
}

func TestAnESTServerSaysWhatToWrite(t *testing.T) {
	dir, _, _ := estFiles(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, c := range map[string]struct {
		change func(*ESTServer)
		want   string
	}{
		"no address":               {func(u *ESTServer) { u.URL = "" }, "est needs an address"},
		"an address without https": {func(u *ESTServer) { u.URL = "est.example" }, "isn't an https URL: write https://HOST"},
		"a label of an operation":  {func(u *ESTServer) { u.Label = "cacerts" }, "name of an operation"},
		"a certificate alone":      {func(u *ESTServer) { u.Key = "" }, "write both, or none"},
		"a key alone":              {func(u *ESTServer) { u.Certificate = "" }, "write both, or none"},
		"files that are no pair":   {func(u *ESTServer) { u.Key = at("device.key") }, "does not match"},
		"a certificate of no RA":   {func(u *ESTServer) { u.Certificate, u.Key = at("device.pem"), at("device.key") }, `"CN=device.example" isn't for id-kp-cmcRA`},
		"no such certificate":      {func(u *ESTServer) { u.Certificate = at("absent") }, "absent: no such file"},
		"no such key":              {func(u *ESTServer) { u.Key = at("absent") }, "absent: no such file"},
		"an intermediate as root":  {func(u *ESTServer) { u.Root = at("intermediate.pem") }, "isn't a root certificate"},
		"a TLS root that is none":  {func(u *ESTServer) { u.TLSRoot = at("none.pem") }, "tls_root: "},
		"an empty placeholder":     {func(u *ESTServer) { u.Root = "{env.ESTRA_NONE}" }, "root: "},
	} {
		u := &ESTServer{addressOptions: addressOptions{URL: "https://est.example", Root: at("root.pem")}, clientOptions: clientOptions{Certificate: at("ra.pem"), Key: at("ra.key")}}
		c.change(u)
		if err := u.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// The own certificate is asked for with each order.
func TestAnESTServerIsShownTheOwnCertificate(t *testing.T) {
	dir, _, _ := estFiles(t)
	u := &ESTServer{addressOptions: addressOptions{URL: "https://est.example", Root: filepath.Join(dir, "root.pem")}, CMC: true}
	if err := u.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if !u.WantsOwn() || u.BoundByOwn() || u.Expiries() != nil || !u.Carries().Subject {
		t.Error("it wants the own certificate, and carries names")
	}
	for _, want := range []string{"nobody gives", "it is being obtained"} {
		_, err := u.Issue(t.Context(), ratest.Order(t, ratest.Case{}))
		var fail *ra.Error
		if !errors.As(err, &fail) || fail.Kind != ra.UpstreamDown || !strings.Contains(fail.Text(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		u.UseOwn(func() (*tls.Certificate, error) { return nil, errors.New("it is being obtained") })
	}
}
