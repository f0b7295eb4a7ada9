// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"time"
)

// A pair is a certificate with its key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// tls is the pair for a handshake, with the rest of its chain.
func (p pair) tls(chain ...*x509.Certificate) tls.Certificate {
	all := [][]byte{p.cert.Raw}
	for _, c := range chain {
		all = append(all, c.Raw)
	}
	return tls.Certificate{Certificate: all, PrivateKey: p.key, Leaf: p.cert}
}

// An authority has a root, and an intermediate that issues.
type authority struct{ root, intermediate pair }

func newAuthority(name string) authority {
	var a authority
	ca := &x509.Certificate{IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	ca.Subject.CommonName = name + " root"
	a.root = sign(ca, nil)
	ca.Subject.CommonName = name + " intermediate"
	a.intermediate = sign(ca, &a.root)
	return a
}

func (a authority) issue(template *x509.Certificate) pair { return sign(template, &a.intermediate) }

// sign makes a P-256 key with a certificate; without a parent it signs
// itself. What fails here is the program: the inputs are its own.
func sign(template *x509.Certificate, parent *pair) pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	own := *template
	own.SerialNumber, own.BasicConstraintsValid = newSerial(), true
	own.NotBefore, own.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(10, 0, 0)
	if parent == nil {
		parent = &pair{cert: &own, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, &own, parent.cert, key.Public(), parent.key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return pair{cert, key}
}

// newSerial has 20 octets, as Estra's have.
func newSerial() *big.Int {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:])
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}
