// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof" // the forced collection, as in Caddy's admin API
	"os"
	"strconv"
	"strings"
	"time"
)

// estPath is where both servers are asked. A device that comes again asks at
// another label: at the same one it would get the certificate that it has.
const estPath = "/.well-known/est/%s/simpleenroll"

// labels is after how many rounds of the fleet a label comes again.
const labels = 500

func labelOf(round int) string { return fmt.Sprintf("devices-%d", round%labels) }

// labelled is a policy with the labels.
func labelled(text string) string {
	all := make([]string, labels)
	for i := range all {
		all[i] = labelOf(i)
	}
	return strings.Replace(text, "labels: [devices]", "labels: ["+strings.Join(all, ", ")+"]", 1)
}

// serveBare is the least that answers an enrolment: it parses the CSR, checks
// its signature, signs with a P-256 key in memory, and answers certs-only. It
// asks for a client certificate and doesn't look at it. It ends with its
// input.
func serveBare(in io.Reader, out io.Writer) error {
	site := newAuthority("bare")
	if err := os.WriteFile("root.pem", pemOf(site.root.cert), 0o600); err != nil {
		return err
	}
	leaf := site.issue(&x509.Certificate{
		DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		MinVersion: tls.VersionTLS12, ClientAuth: tls.RequestClientCert,
		Certificates: []tls.Certificate{leaf.tls(site.intermediate.cert)},
	})
	if err != nil {
		return err
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+fmt.Sprintf(estPath, "{label}"), bareHandler{issuer: site.intermediate})
	served := make(chan error, 3)
	go func() { served <- (&http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}).Serve(listener) }()
	go func() { served <- (&http.Server{ReadHeaderTimeout: time.Minute}).Serve(admin) }()
	go func() { _, _ = io.Copy(io.Discard, in); served <- nil }()
	if err := json.NewEncoder(out).Encode(addresses{listener.Addr().String(), admin.Addr().String()}); err != nil {
		return err
	}
	return <-served
}

// addresses are what the bare server tells when it listens.
type addresses struct{ Site, Admin string }

type bareHandler struct{ issuer pair }

func (h bareHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer, err := h.enrol(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/pkcs7-mime; smime-type=certs-only")
	w.Header().Set("Content-Transfer-Encoding", "base64")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer)
}

func (h bareHandler) enrol(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	der := make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	n, err := base64.StdEncoding.Decode(der, body)
	if err != nil {
		return nil, err
	}
	request, err := x509.ParseCertificateRequest(der[:n])
	if err != nil {
		return nil, err
	}
	if err := request.CheckSignature(); err != nil {
		return nil, err
	}
	now := time.Now()
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: newSerial(), RawSubject: request.RawSubject, DNSNames: request.DNSNames,
		NotBefore: now, NotAfter: now.Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, h.issuer.cert, request.PublicKey, h.issuer.key)
	if err != nil {
		return nil, err
	}
	message, err := certsOnly(cert)
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.AppendEncode(nil, message), nil
}

// certsOnly is RFC 5272 section 4.1 with one certificate.
func certsOnly(cert []byte) ([]byte, error) {
	type contentType struct{ Type asn1.ObjectIdentifier }
	type signedData struct {
		Version      int
		Digests      []asn1.RawValue `asn1:"set"`
		Content      contentType
		Certificates asn1.RawValue
		Signers      []asn1.RawValue `asn1:"set"`
	}
	type contentInfo struct {
		Type    asn1.ObjectIdentifier
		Content signedData `asn1:"explicit,tag:0"`
	}
	return asn1.Marshal(contentInfo{
		Type: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2},
		Content: signedData{
			Version: 1, Digests: []asn1.RawValue{}, Signers: []asn1.RawValue{},
			Content:      contentType{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}},
			Certificates: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: cert},
		},
	})
}
