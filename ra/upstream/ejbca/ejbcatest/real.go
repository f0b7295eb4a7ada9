// SPDX-License-Identifier: Apache-2.0

package ejbcatest

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// A Server is the fake one, or a real one.
type Server struct {
	// Fake is nil where the server is a real one.
	Fake             *Fake
	URL              string
	Roots            []*x509.Certificate // of the CA
	TLSRoots         []*x509.Certificate // of the server; none: Roots
	CA               string
	EndEntityProfile string
	RA               tls.Certificate

	t     testing.TB
	front ratest.Signer // of fronts
}

// Fronted is how a front of the suite of upstreams stands before the server.
func (s *Server) Fronted() *upstreamtest.CA {
	s.t.Helper()
	roots := s.TLSRoots
	if len(roots) == 0 {
		roots = s.Roots
	}
	ca := &upstreamtest.CA{
		Name: "EJBCA", URL: s.URL, Server: upstreamtest.ServerCertificate(s.t, s.front), Finds: true, Reissue: upstreamtest.ReissueJSON("certificate"),
		TLS:   upstream.TLS(roots, func() (*tls.Certificate, error) { return &s.RA, nil }, nil),
		Signs: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/certificaterequest") },
	}
	if s.Fake != nil {
		ca.Issuer = s.Fake.CA.Intermediate
	}
	return ca
}

// Start gives the server at ESTRA_EJBCA_URL, where that is set; else the fake one.
// The log says which.
//
//	ESTRA_EJBCA_URL                 https://HOST:8443
//	ESTRA_EJBCA_CACERT              PEM file with the root of the CA
//	ESTRA_EJBCA_TLS_CACERT          PEM file with the root of the server's TLS, if another
//	ESTRA_EJBCA_CERT, _KEY          PEM files with the RA certificate and its key
//	ESTRA_EJBCA_CA                  the name of the CA
//	ESTRA_EJBCA_END_ENTITY_PROFILE  the name of the end entity profile
//
// The certificate profiles are those of [Server.Profile].
func Start(t testing.TB) *Server {
	t.Helper()
	address := os.Getenv("ESTRA_EJBCA_URL")
	if address == "" {
		t.Log("against the fake server of ejbcatest: ESTRA_EJBCA_URL isn't set")
		return NewFake(t).Server()
	}
	t.Logf("against the real server at %s", address)
	s := &Server{
		URL: address, CA: os.Getenv("ESTRA_EJBCA_CA"), EndEntityProfile: os.Getenv("ESTRA_EJBCA_END_ENTITY_PROFILE"),
		t: t, front: ratest.NewRoot(t, "Front"),
	}
	s.Roots = certificates(t, "ESTRA_EJBCA_CACERT")
	s.TLSRoots = append(s.TLSRoots, s.front.Certificate)
	s.TLSRoots = append(s.TLSRoots, s.Roots...)
	if os.Getenv("ESTRA_EJBCA_TLS_CACERT") != "" {
		s.TLSRoots = append(certificates(t, "ESTRA_EJBCA_TLS_CACERT"), s.front.Certificate)
	}
	var err error
	if s.RA, err = tls.LoadX509KeyPair(os.Getenv("ESTRA_EJBCA_CERT"), os.Getenv("ESTRA_EJBCA_KEY")); err != nil {
		t.Fatalf("ESTRA_EJBCA_CERT, ESTRA_EJBCA_KEY: %v", err)
	}
	return s
}

func certificates(t testing.TB, variable string) []*x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(os.Getenv(variable))
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	certs, err := upstream.Certificates(text)
	if err != nil {
		t.Fatalf("%s: %v", variable, err)
	}
	return certs
}

// Server is the fake one as the tests of both kinds have it.
func (f *Fake) Server() *Server {
	return &Server{
		Fake: f, URL: f.URL, Roots: []*x509.Certificate{f.CA.Root.Certificate}, CA: CAName, EndEntityProfile: EndEntityProfile, RA: f.RA,
		t: f.t, front: f.CA.Root,
	}
}

// Profile is the name of the certificate profile for an order, such as
// estra-1-1.3.6.1.5.5.7.3.2 for digitalSignature and clientAuth: the key usage as
// crypto/x509 has it, then the purposes. The fake server makes it.
func (s *Server) Profile(o ra.Order) string {
	plan := o.Plan()
	var name strings.Builder
	fmt.Fprintf(&name, "estra-%d", plan.KeyUsage)
	for _, oid := range plan.ExtKeyUsage {
		fmt.Fprintf(&name, "-%s", oid)
	}
	if s.Fake != nil {
		s.Fake.AddProfile(name.String(), plan.KeyUsage, plan.ExtKeyUsage)
	}
	return name.String()
}
