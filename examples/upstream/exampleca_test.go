// SPDX-License-Identifier: Apache-2.0

package exampleca

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// serve is the CA, in forty lines. It gives the address, and the CA's own certificate
// for TLS.
func serve(t testing.TB) (*ratest.CA, string, tls.Certificate) {
	t.Helper()
	ca := ratest.NewCA(t)
	mux := http.NewServeMux()
	send := func(w http.ResponseWriter, certs ...*x509.Certificate) {
		for _, c := range certs {
			_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		}
	}
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) {
		send(w, ca.Root.Certificate, ca.Intermediate.Certificate)
	})
	mux.HandleFunc("POST /sign", func(w http.ResponseWriter, r *http.Request) {
		var call Call
		if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		request, err := csr.Parse(call.CSR)
		if err != nil || request.CheckPOP() != nil {
			http.Error(w, "no good request", http.StatusBadRequest)
			return
		}
		if call.NotAfter.Sub(call.NotBefore) > 90*24*time.Hour {
			http.Error(w, "that is too long", http.StatusForbidden)
			return
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(time.Now().UnixNano()), RawSubject: call.Subject,
			NotBefore: call.NotBefore, NotAfter: call.NotAfter, BasicConstraintsValid: true,
		}
		for _, e := range []pkix.Extension{
			{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: call.Critical, Value: call.SAN},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: call.KeyUsage},
			{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: call.ExtKeyUsage},
		} {
			if len(e.Value) > 0 {
				template.ExtraExtensions = append(template.ExtraExtensions, e)
			}
		}
		send(w, ca.Intermediate.Sign(t, template, request.Key.Public))
	})
	own := ca.Root.Device(t, "127.0.0.1", func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	server := httptest.NewUnstartedServer(mux)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{own}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return ca, server.URL, own
}

// open is what Caddy does with a Caddyfile.
func open(t testing.TB, ca *ratest.CA, place upstreamtest.Place) *ExampleCA {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(root, upstreamtest.CertificatePEM(ca.Root.Certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	u := ExampleCA{timeout: place.Timeout}
	if err := u.UnmarshalCaddyfile(caddyfile.NewTestDispenser("example_ca " + place.URL + " " + root)); err != nil {
		t.Fatal(err)
	}
	if err := u.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return &u
}

func TestTheExamplePassesTheSuiteOfUpstreams(t *testing.T) {
	ca, url, own := serve(t)
	upstreamtest.Run(t, upstreamtest.Subject{
		Open: func(t testing.TB, place upstreamtest.Place) ra.Upstream { return open(t, ca, place) },
		Pins: []*x509.Certificate{ca.Root.Certificate},
		CA: &upstreamtest.CA{
			Name: "example CA", URL: url, Server: own, TLS: upstream.TLS([]*x509.Certificate{ca.Root.Certificate}, nil, nil),
			Signs:   func(r *http.Request) bool { return r.Method == http.MethodPost },
			Reissue: upstreamtest.ReissuePEM, Issuer: ca.Intermediate,
		},
		Refuse: func(t testing.TB) upstreamtest.Refusal {
			long := strings.Replace(ratest.Permissive, "{default: 1d}", "{default: 91d}", 1)
			return upstreamtest.Refusal{
				Upstream: open(t, ca, upstreamtest.Place{URL: url}), Order: ratest.Order(t, ratest.Case{Policy: long, OwnSerials: true}),
				Says: "that is too long",
			}
		},
	})
}
