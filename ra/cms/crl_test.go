// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"testing"
	"time"
)

func TestACRLBesideTheCertificatesIsReadByOpenSSL(t *testing.T) {
	key := rsaKey()
	cert := certify(t, "RSA", key)
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "RSA"}, RawSubject: cert.RawSubject, KeyUsage: x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Unix(1750000000, 0), NextUpdate: time.Unix(1850000000, 0)}
	crl, err := x509.CreateRevocationList(rand.Reader, list, issuer, key)
	if err != nil {
		t.Fatal(err)
	}
	message, err := SignWithCRLs(pkiData, []*x509.Certificate{cert}, [][]byte{crl}, Signer{Key: key, ID: IssuerAndSerial(cert)})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := verify(message, FindCertificate()); err != nil || len(v.Certificates()) != 1 {
		t.Errorf("read back: %v", err)
	}
	if text := openssl(t, message, "-cmsout", "-print", "-inform", "DER", "-noout"); !bytes.Contains(text, []byte("d.crl:")) {
		t.Errorf("openssl reads %s", text)
	}
}
