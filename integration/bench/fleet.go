// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"sync/atomic"
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
}

func newFleet() (*fleet, error) {
	ca := newAuthority("devices")
	if err := os.WriteFile(anchorFile, pemOf(ca.root.cert), 0o600); err != nil {
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
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		}, sign(&x509.Certificate{}, nil).key)
		if err != nil {
			return nil, err
		}
		f.devices[i] = device{cert: identity.tls(f.intermediate), csr: csr}
	}
	return f, nil
}

// take gives the devices in turn, so that each comes back as late as may be.
func (f *fleet) take() *device {
	return &f.devices[int(f.next.Add(1)-1)%len(f.devices)]
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
