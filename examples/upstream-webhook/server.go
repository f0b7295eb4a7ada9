// SPDX-License-Identifier: Apache-2.0

// A CA behind the upstream `webhook` (docs/upstream-webhook.md): it signs what it is
// told, if the HMAC is right. It keeps ca.pem, ca.key, tls.pem and tls.key beside it,
// and takes its address as the argument.
package main

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net/http"
	"os"
	"time"
)

type order struct {
	PublicKey   []byte `json:"public_key"`
	Certificate struct {
		Serial     string    `json:"serial"`
		NotBefore  time.Time `json:"not_before"`
		NotAfter   time.Time `json:"not_after"`
		Subject    []byte    `json:"subject"`
		Extensions []byte    `json:"extensions_der"`
	} `json:"certificate"`
}

func sign(ca tls.Certificate, body []byte) ([]byte, error) {
	var o order
	err := json.Unmarshal(body, &o)
	c := x509.Certificate{RawSubject: o.Certificate.Subject, NotBefore: o.Certificate.NotBefore, NotAfter: o.Certificate.NotAfter}
	c.SerialNumber, _ = new(big.Int).SetString(o.Certificate.Serial, 10)
	_, bad := asn1.Unmarshal(o.Certificate.Extensions, &c.ExtraExtensions)
	key, worse := x509.ParsePKIXPublicKey(o.PublicKey)
	if err := errors.Join(err, bad, worse); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, ca.Leaf, key, ca.PrivateKey)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), err
}

func main() {
	ca, err := tls.LoadX509KeyPair("ca.pem", "ca.key")
	secret, bad := base64.StdEncoding.DecodeString(os.Getenv("EST_CA_SECRET"))
	if err = errors.Join(err, bad); err != nil || len(secret) < 16 || len(os.Args) != 2 {
		log.Fatal("it needs ca.pem and ca.key, EST_CA_SECRET, and an address: ", err)
	}
	http.HandleFunc("POST /issue", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		mac := hmac.New(sha256.New, secret)
		mac.Write(body)
		if sent, _ := hex.DecodeString(r.Header.Get("X-Estra-Signature")); err != nil || !hmac.Equal(sent, mac.Sum(nil)) {
			http.Error(w, "the signature is wrong", http.StatusUnauthorized)
		} else if certificate, err := sign(ca, body); err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		} else {
			_ = json.NewEncoder(w).Encode(map[string]string{"certificate": string(certificate)})
		}
	})
	server := http.Server{Addr: os.Args[1], ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServeTLS("tls.pem", "tls.key"))
}
