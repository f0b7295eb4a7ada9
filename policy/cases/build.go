// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io/fs"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// A builder makes the request of a case.
type builder struct {
	files fs.FS
	test  policy.TestCase
}

// A mistake is what is wrong with a case, with its place.
type mistake struct {
	at  policy.Pos
	err error
}

func (m mistake) Error() string { return m.at.String() + ": " + m.err.Error() }

func wrong(at policy.Pos, format string, args ...any) error {
	return mistake{at, fmt.Errorf(format, args...)}
}

func (b builder) request() (policy.Arrival, error) {
	c := b.test
	req := policy.Arrival{Request: policy.Request{Op: c.Op, Label: c.Label, Now: c.At, Linking: c.Linking}}
	req.Who.Accounts, req.Who.Data, req.Who.Claims = slices.Clone(c.Who.Accounts), c.Who.Data, c.Who.Claims
	var err error
	if c.Who.Cert != nil {
		if req.Who.Cert, err = b.certificate(*c.Who.Cert); err != nil {
			return req, err
		}
		req.Who.Anchors = c.Who.Cert.Anchors
		for range req.Who.Anchors {
			req.Who.AnchorEnds = append(req.Who.AnchorEnds, anchorEnd(*c.Who.Cert, c.At))
		}
	}
	if err := once(&req.Who, c.Who); err != nil {
		return req, err
	}
	if c.Who.Cert != nil && c.Who.Cert.RA {
		if req.By, err = policy.NewRegistrar(req.Who, req.Who.Anchors); err != nil {
			return req, wrong(c.Who.Cert.Pos, "`role: ra`: %w", err)
		}
	}
	if c.Op.Renews() {
		req.Renews = req.Who.Cert
	}
	if c.Renews != nil {
		if req.Renews, err = b.certificate(*c.Renews); err != nil {
			return req, err
		}
	}
	if req.Chain, err = chain(c, req.Who.Cert); err != nil {
		return req, err
	}
	old := req.Renews
	if old == nil {
		old = req.Who.Cert
	}
	if c.Op == policy.ServerKeygen {
		req.Keyless, err = b.keyless()
	} else {
		req.CSR, err = b.csr(old)
	}
	if err != nil {
		return req, err
	}
	if c.HeldBy != "" {
		subject, err := csr.ParseName(c.HeldBy)
		if err != nil {
			return req, wrong(c.Pos, "`key_held_by`: %w", err)
		}
		digest, ok := csr.Names{Subject: subject}.Digest()
		if !ok {
			return req, wrong(c.Pos, "`key_held_by`: %q can't be compared", c.HeldBy)
		}
		req.KeyHolder = &policy.KeyHolder{Names: digest, Serial: "01"}
	}
	return req, nil
}

// chain is how the client certificate goes back to an enrolment; nil: the case
// says nothing of it.
func chain(c policy.TestCase, cert *x509.Certificate) (*policy.Chain, error) {
	if c.Renewed == 0 && c.Enrolled.IsZero() {
		return nil, nil
	}
	if cert == nil {
		return nil, wrong(c.Pos, "`renewed` and `enrolled` are of the client certificate, and there is none")
	}
	return policy.ChainOf(cert, c.Renewed, c.Enrolled), nil
}

// once adds the one-time password, the device, and what the inventory has.
func once(who *policy.Identity, test policy.TestWho) error {
	who.IssuedUnder = test.Inventory
	if d := test.Device; d != nil {
		who.Devices = []policy.Device{{Registry: d.Registry, Issuer: "00", Identity: d.Identity, State: d.State}}
	}
	p := test.Password
	if p == nil {
		return nil
	}
	names, err := namesOf(p.Subject, p.SAN)
	if err != nil {
		return wrong(p.Pos, "%w", err)
	}
	bound := policy.BoundNames{Names: names, Subject: p.Subject != "", SAN: len(p.SAN) > 0}
	who.Passwords = []policy.OneTimePassword{{ID: "a-test", Via: p.Via, Bound: bound}}
	return nil
}

// Times of a certificate that says none: in the last tenth of its life, so
// that any window for renewals is open.
const (
	age  = 90 * 24 * time.Hour
	left = 10 * 24 * time.Hour
)

// anchorEnd: one that isn't written outlives whatever is issued.
func anchorEnd(c policy.TestCert, at time.Time) time.Time {
	if !c.AnchorEnds.IsZero() {
		return c.AnchorEnds
	}
	return at.AddDate(100, 0, 0)
}

// certificate makes a certificate with the names of the case, signed by nobody
// in particular: what its chain would prove is taken as proven.
func (b builder) certificate(c policy.TestCert) (*x509.Certificate, error) {
	if c.File != "" {
		return b.certificateFile(c)
	}
	names, err := namesOf(c.Subject, c.SAN)
	if err != nil {
		return nil, wrong(c.Pos, "%w", err)
	}
	serial := big.NewInt(1)
	if c.Serial != "" {
		serial.SetString(strings.ReplaceAll(c.Serial, ":", ""), 16) // checked when it was read
	}
	template := &x509.Certificate{SerialNumber: serial, NotBefore: b.test.At.Add(-age), NotAfter: b.test.At.Add(left)}
	if !c.NotBefore.IsZero() {
		template.NotBefore = c.NotBefore
	}
	if !c.NotAfter.IsZero() {
		template.NotAfter = c.NotAfter
	}
	if template.RawSubject, err = names.Subject.MarshalDER(); err != nil {
		return nil, wrong(c.Pos, "%w", err)
	}
	if names.HasSAN {
		value, err := csr.MarshalSAN(names.SAN)
		if err != nil {
			return nil, wrong(c.Pos, "%w", err)
		}
		template.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 17}, Critical: len(names.Subject) == 0, Value: value}}
	}
	if c.RA {
		template.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}} // id-kp-cmcRA (RFC 6402 section 2.10)
	}
	issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "an issuer"}}
	if c.Issuer != "" {
		name, err := csr.ParseName(c.Issuer)
		if err != nil {
			return nil, wrong(c.Pos, "`issuer`: %w", err)
		}
		if issuer.RawSubject, err = name.MarshalDER(); err != nil {
			return nil, wrong(c.Pos, "`issuer`: %w", err)
		}
	}
	public, _, err := publicKey("P-256", "certificate/"+c.Subject+"/"+strings.Join(c.SAN, ","))
	if err != nil {
		return nil, wrong(c.Pos, "%w", err)
	}
	signer := ed25519.NewKeyFromSeed(seed("issuer", 0))
	issuer.PublicKey = signer.Public()
	der, err := x509.CreateCertificate(nil, template, issuer, public, signer) // Ed25519 needs no randomness
	if err != nil {
		return nil, wrong(c.Pos, "the certificate can't be made: %w", err)
	}
	return x509.ParseCertificate(der)
}

func (b builder) read(at policy.Pos, name string) ([]byte, error) {
	if b.files == nil {
		return nil, wrong(at, "%s can't be read: no files are beside these cases", name)
	}
	data, err := fs.ReadFile(b.files, name)
	if err != nil {
		return nil, wrong(at, "%w", err)
	}
	if block, _ := pem.Decode(data); block != nil {
		return block.Bytes, nil
	}
	return data, nil
}

func (b builder) certificateFile(c policy.TestCert) (*x509.Certificate, error) {
	der, err := b.read(c.Pos, c.File)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, wrong(c.Pos, "%s: %w", c.File, err)
	}
	return cert, nil
}

func namesOf(subject string, san []string) (csr.Names, error) {
	var names csr.Names
	var err error
	if subject != "" {
		if names.Subject, err = csr.ParseName(subject); err != nil {
			return names, fmt.Errorf("subject %q: %w", subject, err)
		}
	}
	for _, text := range san {
		name, err := csr.ParseGeneralName(text)
		if err != nil {
			return names, fmt.Errorf("san %q: %w", text, err)
		}
		names.SAN = append(names.SAN, name)
	}
	names.HasSAN = len(names.SAN) > 0
	return names, nil
}

// csr makes the request. It isn't signed: whether a signature is good isn't
// the policy's to say.
func (b builder) csr(old *x509.Certificate) (*csr.Request, error) {
	c := b.test.CSR
	if c.File != "" {
		der, err := b.read(c.Pos, c.File)
		if err != nil {
			return nil, err
		}
		request, err := csr.Parse(der)
		if err == nil {
			err = request.CheckPOP()
		}
		if err != nil {
			return nil, wrong(c.Pos, "%s: %w", c.File, err)
		}
		return request, nil
	}
	spki, signature, err := b.spki(old)
	if err != nil {
		return nil, err
	}
	parts, err := b.parts(spki)
	if err != nil {
		return nil, err
	}
	if parts.Signature = signature; c.Signature != "" {
		parts.Signature = c.Signature
	}
	request, err := csr.Restore(parts)
	if err != nil {
		return nil, wrong(c.Pos, "%w", err)
	}
	return request, nil
}

// parts makes all of a request but its signature.
func (b builder) parts(spki []byte) (parts csr.Parts, err error) {
	c := b.test.CSR
	names, err := namesOf(c.Subject, c.SAN)
	if err != nil {
		return parts, wrong(c.Pos, "%w", err)
	}
	parts.SPKI = spki
	if parts.Subject, err = names.Subject.MarshalDER(); err != nil {
		return parts, wrong(c.Pos, "%w", err)
	}
	if parts.Extensions, err = b.extensions(names); err != nil {
		return parts, err
	}
	if parts.Attributes, err = b.attributes(); err != nil {
		return parts, err
	}
	parts.Size = len(parts.Subject) + len(parts.SPKI) + 128 // the frame and a signature
	for _, e := range parts.Extensions {
		parts.Size += len(e.Value) + 16
	}
	for _, a := range parts.Attributes {
		parts.Size += len(bytes.Join(a.Values, nil)) + 16
	}
	if c.Size > 0 {
		parts.Size = int(c.Size)
	}
	return parts, nil
}

func (b builder) spki(old *x509.Certificate) ([]byte, string, error) {
	c := b.test.CSR
	if c.SameKey {
		if old == nil {
			return nil, "", wrong(c.Pos, "`same_key`: there is no certificate whose key it could be")
		}
		return old.RawSubjectPublicKeyInfo, "ECDSA-SHA256", nil
	}
	public, signature, err := publicKey(c.Key, "request")
	if err != nil {
		return nil, "", wrong(c.Pos, "%w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	return der, signature, err
}
