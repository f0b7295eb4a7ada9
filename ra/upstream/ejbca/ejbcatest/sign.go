// SPDX-License-Identifier: Apache-2.0

package ejbcatest

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

var errStatus = errors.New("Wrong password or status of the end entity") //nolint:staticcheck // EJBCA's words

// A profile is a certificate profile.
type profile struct {
	keyUsage x509.KeyUsage
	purposes []asn1.ObjectIdentifier
}

// AddProfile makes a certificate profile, which allows any end of the validity.
func (f *Fake) AddProfile(name string, keyUsage x509.KeyUsage, purposes []asn1.ObjectIdentifier) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.profiles[name] = profile{keyUsage, purposes}
}

// words are those of a DN, in the order in which this EJBCA writes them.
var words = []struct{ word, oid string }{
	{"UID", "0.9.2342.19200300.100.1.1"}, {"CN", "2.5.4.3"}, {"SN", "2.5.4.5"}, {"GIVENNAME", "2.5.4.42"}, {"SURNAME", "2.5.4.4"},
	{"T", "2.5.4.12"}, {"OU", "2.5.4.11"}, {"O", "2.5.4.10"}, {"L", "2.5.4.7"}, {"ST", "2.5.4.8"}, {"STREET", "2.5.4.9"},
	{"POSTALCODE", "2.5.4.17"}, {"C", "2.5.4.6"},
}

// replaced are the characters that EJBCA replaces by default (forbidden.characters).
const replaced = "\n\r;!\x00%`?$~"

// subjectOf reads a DN.
func subjectOf(text string) ([]byte, error) {
	given := map[string]string{}
	for _, part := range split(text) {
		word, value, ok := strings.Cut(part, "=")
		if _, twice := given[word]; !ok || twice {
			return nil, fmt.Errorf("a DN with %q", part)
		}
		given[word] = unescaped(value)
	}
	var name pkix.RDNSequence
	for _, w := range words {
		if value, is := given[w.word]; is {
			oid, _ := csr.TypeOID(w.oid)
			name = append(name, pkix.RelativeDistinguishedNameSET{{Type: oid, Value: value}})
			delete(given, w.word)
		}
	}
	if len(given) > 0 || len(name) == 0 {
		return nil, fmt.Errorf("a DN with words that nobody knows: %v", given)
	}
	return asn1.Marshal(name)
}

// split parts a DN at commas that aren't escaped.
func split(text string) []string {
	var parts []string
	start := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case ',':
			parts = append(parts, strings.TrimSpace(text[start:i]))
			start = i + 1
		}
	}
	return append(parts, strings.TrimSpace(text[start:]))
}

func unescaped(value string) string {
	value = strings.NewReplacer(`\,`, ",", `\+`, "+", `\=`, "=", `\\`, `\`).Replace(value)
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(replaced, r) {
			return '/'
		}
		return r
	}, value)
}

func addNames(template *x509.Certificate, text string) error {
	if text == "" {
		return nil
	}
	for _, part := range split(text) {
		word, value, _ := strings.Cut(part, "=")
		value = unescaped(value)
		switch word {
		case "dNSName":
			template.DNSNames = append(template.DNSNames, value)
		case "rfc822Name":
			template.EmailAddresses = append(template.EmailAddresses, value)
		case "iPAddress":
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(value))
		case "uniformResourceId":
			u, err := url.Parse(value)
			if err != nil {
				return err
			}
			template.URIs = append(template.URIs, u)
		default:
			return fmt.Errorf("a SAN with %q", part)
		}
	}
	return nil
}

// sign makes the certificate that an end entity and its profile say.
func (f *Fake) sign(e *entity, key crypto.PublicKey) (*x509.Certificate, error) {
	now := time.Now()
	number, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 150))
	if err != nil {
		return nil, err
	}
	p := f.profiles[e.CertificateProfile]
	template := &x509.Certificate{
		SerialNumber: number.Add(number, big.NewInt(1)), NotBefore: now.Add(-10 * time.Minute), NotAfter: now.AddDate(2, 0, 0),
		KeyUsage: p.keyUsage, UnknownExtKeyUsage: p.purposes, BasicConstraintsValid: true,
	}
	if template.RawSubject, err = subjectOf(e.Subject); err != nil {
		return nil, err
	}
	if err := addNames(template, e.SAN); err != nil {
		return nil, err
	}
	for _, d := range e.Custom {
		if d.Name != "customdata_ENDTIME" {
			return nil, fmt.Errorf("custom data %q", d.Name)
		}
		if template.NotAfter, err = time.Parse("2006-01-02 15:04:05", d.Value); err != nil {
			return nil, err
		}
	}
	for _, d := range e.Extensions {
		critical, is := f.Extensions[d.Name]
		if !is { // as EJBCA does, without a word
			continue
		}
		value, err := hex.DecodeString(d.Value)
		if err != nil {
			return nil, err
		}
		oid, _ := csr.TypeOID(d.Name)
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: oid, Critical: critical, Value: value})
	}
	if f.Issue != nil {
		f.Issue(template)
	}
	return f.CA.Intermediate.Sign(f.t, template, key), nil
}
