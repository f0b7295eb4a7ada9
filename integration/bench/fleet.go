// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/estclient"
)

// fleetSize is how many devices there are. It is more than the chains that
// Estra remembers (ra/anchor), so that with a new connection for each
// enrolment every chain is verified anew.
const fleetSize = 5000

// anchorFile is the devices' trust anchor, in the load's folder.
const anchorFile = "anchor.pem"

// A fleet is the devices: each has a P-256 certificate under one intermediate
// and a CSR, signed once and used again.
type fleet struct {
	intermediate *x509.Certificate
	devices      []device
	next         atomic.Int64
}

type device struct {
	cert tls.Certificate
	csr  []byte // DER
	name string
	key  crypto.Signer // of the CSR
}

// request signs a CSR anew, of one size with the linking value and without: then
// another attribute stands in its place, which the policy allows.
func (d *device) request(conn *tls.Conn, linked bool) ([]byte, error) {
	dns, err := csr.NewName(csr.DNS, d.name)
	if err != nil {
		return nil, err
	}
	cn := csr.AttributeValue{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: d.name, Text: true}
	template := estclient.Template{Names: csr.Names{Subject: csr.Name{csr.RDN{cn}}, SAN: []csr.GeneralName{dns}, HasSAN: true}}
	state := conn.ConnectionState()
	if !linked {
		template.LinkBy = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 8} // unstructuredAddress
	}
	return estclient.Request(rand.Reader, d.key, template, binding.FromTLS(&state).Value())
}

func newFleet() (*fleet, error) {
	ca := newAuthority("devices")
	if err := os.WriteFile(anchorFile, pemOf(ca.root.cert), 0o600); err != nil {
		return nil, err
	}
	if err := errors.Join(ca.root.writeList(rootListFile), ca.intermediate.writeList(deviceList)); err != nil {
		return nil, err
	}
	f := &fleet{intermediate: ca.intermediate.cert, devices: make([]device, fleetSize)}
	for i := range f.devices {
		name := fmt.Sprintf("device-%d.devices.example.net", i)
		identity := ca.issue(&x509.Certificate{
			Subject:     pkix.Name{Organization: []string{"Example Devices"}, SerialNumber: fmt.Sprint(i)},
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		// Another key: the one that the device wants a certificate for.
		key := sign(&x509.Certificate{}, nil).key
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		}, key)
		if err != nil {
			return nil, err
		}
		f.devices[i] = device{cert: identity.tls(f.intermediate), csr: csr, name: name, key: key}
	}
	return f, nil
}

// take gives the devices in turn, so that each comes back as late as may be.
func (f *fleet) take() (d *device, label string) {
	n := int(f.next.Add(1) - 1)
	return &f.devices[n%len(f.devices)], labelOf(n / len(f.devices))
}

func poolOf(name string) (*x509.CertPool, error) {
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(src) {
		return nil, fmt.Errorf("%s holds no certificate", name)
	}
	return pool, nil
}
