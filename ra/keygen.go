// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/netip"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/secret"
)

// A Keygen is one request to /serverkeygen (RFC 7030 section 4.4): its key and
// signature prove nothing.
type Keygen struct {
	policy.Request
	ID      string
	Channel binding.Channel // as in Request
	Remote  netip.Addr
	// Confidential says that what is answered is encrypted from here to the
	// client: without it no key goes out in clear.
	Confidential bool
}

// A PrivateKey is the key as it goes out. The zero value is none.
type PrivateKey struct {
	// DER is PrivateKeyInfo (RFC 5958), or CMS where Encrypted says so, or a PFX
	// (RFC 7292) with the certificate, too, where PKCS12 does.
	DER       secret.Bytes
	Encrypted bool
	PKCS12    bool
}

// Made tells for records what was made.
type Made struct {
	// SPKISHA256 is the hash of the SubjectPublicKeyInfo, in hexadecimal: all
	// that is kept of the key.
	SPKISHA256 string
	Key        csr.Key // without Public
	// By is ra or upstream; For the identifier of the key that it was encrypted
	// for, none where it goes out in clear.
	By  string
	For csr.DecryptKey
	// PKCS12: it goes out in a PKCS #12, under a password of the client's.
	PKCS12 bool
	// Superseded are the certificates that the same request had before.
	Superseded []Superseded
}

// Superseded is a certificate in whose place a new one came.
type Superseded struct {
	Certificate *x509.Certificate
	Revoked     bool
	Err         error // why it isn't
}

// making is a key on its way through the steps of a task.
type making struct {
	profile      *policy.Profile
	confidential bool
	upstream     KeyMaker // makes the key; nil: this server does
	key          secret.Key
	password     secret.Text // of a PKCS #12; "": it is none
	out          PrivateKey
	made         *Made // once it is decided which
}

// Keygen decides about a request to /serverkeygen, makes the key once that is
// decided, and issues. It is Enroll in all else. The caller clears the key when
// it has been sent.
func (a *Authority) Keygen(ctx context.Context, p *policy.Profile, req Keygen) (Outcome, PrivateKey, error) {
	if req.Op != policy.ServerKeygen || req.Keyless == nil {
		return Outcome{Status: StatusRefused}, PrivateKey{}, Fail(OperationOff, "this is no request for a key", nil)
	}
	if req.Now.IsZero() {
		req.Now = a.now()
	}
	t := task{
		csr: req.Keyless.Unkeyed(), who: req.Who, now: req.Now, evidence: evidenceOf(req.ID, req.Linking, req.Channel),
		making: &making{profile: p, confidential: req.Confidential},
	}
	t.identity = identityOf(req.Who, t.csr)
	t.decide = func(f found) policy.Decision {
		req.Who.Data, req.Chain = f.data, f.chain
		return p.Decide(req.Request)
	}
	t.arrived = func() policy.Arrival { return policy.Arrival{Request: req.Request} }
	out, err := a.run(ctx, p, policy.ServerKeygen, req.Label, t)
	t.making.key.Clear()
	if err != nil {
		t.making.out.DER.Clear()
		return out, PrivateKey{}, err
	}
	return out, t.making.out, nil
}

// make makes the key that was decided, and a request of our own for it: the CA
// is asked with that one, for the names of the plan.
func (a *Authority) make(ctx context.Context, ca *CA, t *task, out *Outcome) *Error {
	wanted := out.Decision.Keygen
	if wanted == nil {
		return Fail(Fault, "which key is to be made wasn't decided", nil)
	}
	if !wanted.For.Asked() && !wanted.PKCS12 && !t.making.confidential {
		return Fail(Forbidden, "the private key would go out in clear, and the connection isn't encrypted from here to the client", nil).
			Telling("ask for the private key to be encrypted (RFC 7030 section 4.4.1)")
	}
	made := &Made{Key: wanted.Key, By: "ra", For: wanted.For, PKCS12: wanted.PKCS12}
	t.making.made = made
	if wanted.Upstream {
		maker, ok := ca.Upstream.(KeyMaker)
		if !ok {
			return Fail(Fault, fmt.Sprintf("upstream %s makes no keys", ca.Name), nil)
		}
		t.making.upstream, made.By = maker, "upstream"
		return nil
	}
	seal, e := a.sealing(ctx, t.who, wanted.For)
	if e != nil {
		return e
	}
	if wanted.PKCS12 {
		if t.making.password, e = a.password(ctx, t.who); e != nil {
			return e
		}
	}
	signer, e := a.generate(ctx, wanted.Key)
	if e != nil {
		return e
	}
	key, err := secret.NewKey(signer)
	if err != nil {
		return Fail(Fault, "the key can't be encoded", nil)
	}
	t.making.key = key
	if t.csr, err = ownRequest(signer, out.Decision.Plan); err != nil {
		return Fail(Fault, "the request for the key can't be made", err)
	}
	if findings := t.making.profile.CheckMade(t.csr); len(findings) > 0 {
		e := Fail(Fault, "the key that was made is one that the policy refuses", nil)
		e.Findings = findings
		return e
	}
	made.SPKISHA256 = sha256Hex(t.csr.RawSPKI)
	out.Made = made
	if wanted.PKCS12 {
		return nil // once there is a certificate
	}
	if t.making.out, err = seal.close(key.PKCS8()); err != nil {
		return Fail(Fault, "the private key can't be encrypted", err)
	}
	return nil
}

// issue asks the CA, which may make the key. m is nil where none is made.
func (m *making) issue(ctx context.Context, ca *CA, order Order) (issued Issued, err error) {
	if m == nil || m.upstream == nil {
		return ca.Upstream.Issue(ctx, order)
	}
	issued, m.out, err = m.upstream.IssueWithKey(ctx, order)
	return issued, err
}

// checkUpstream holds what the CA has made against what was wanted: a key that
// the policy takes, in the form that was asked for. What doesn't conform is
// withdrawn.
func (m *making) checkUpstream(ctx context.Context, ca *CA, order Order, out *Outcome) *Error {
	if m == nil || m.upstream == nil {
		return nil
	}
	leaf := out.Certificate
	out.Made = m.made
	out.Made.SPKISHA256 = sha256Hex(leaf.RawSubjectPublicKeyInfo)
	key, err := csr.ReadKey(leaf.RawSubjectPublicKeyInfo)
	findings := m.profile.CheckMade(&csr.Request{RawSPKI: leaf.RawSubjectPublicKeyInfo, Key: key})
	var problem string
	switch {
	case err != nil:
		problem = "the key of the certificate can't be read"
	case len(findings) > 0:
		problem = "the policy refuses the key of the certificate"
	case len(m.out.DER) == 0:
		problem = "no private key came with the certificate"
	case m.out.Encrypted != out.Made.For.Asked():
		problem = "the private key came in clear and was to be encrypted, or the other way round"
	default:
		return nil
	}
	same := false
	out.Conforms, out.Withheld, out.Certificate = &same, leaf, nil
	e := Fail(Nonconforming, fmt.Sprintf("upstream %s: %s; the certificate (serial %x) is withheld; %s", ca.Name, problem, leaf.SerialNumber, withdraw(ctx, ca, order, leaf, out)), err)
	e.Findings = findings
	return e
}

// rsaWait is how long a request waits for its turn to have an RSA key made.
const rsaWait = 30 * time.Second

// generate makes one key. RSA keys are made one after the other: each takes a
// core for a second or more.
func (a *Authority) generate(ctx context.Context, kind csr.Key) (crypto.Signer, *Error) {
	var signer crypto.Signer
	var err error
	switch kind.Algorithm {
	case csr.RSA:
		return a.generateRSA(ctx, kind.Bits)
	case csr.ECDSA:
		for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
			if curve.Params().Name == kind.Curve {
				signer, err = ecdsa.GenerateKey(curve, rand.Reader)
			}
		}
	case csr.Ed25519:
		_, signer, err = ed25519.GenerateKey(rand.Reader)
	default: // none that we make
	}
	if err != nil || signer == nil {
		return nil, Fail(Fault, fmt.Sprintf("no %s key can be made", policy.KeyName(kind)), err)
	}
	return signer, nil
}

func (a *Authority) generateRSA(ctx context.Context, bits int) (crypto.Signer, *Error) {
	ctx, cancel := context.WithTimeout(ctx, rsaWait)
	defer cancel()
	a.rsa.once.Do(func() { a.rsa.place = make(chan struct{}, 1) })
	select {
	case a.rsa.place <- struct{}{}:
	case <-ctx.Done():
		return nil, Fail(Busy, "other RSA keys are being made", ctx.Err())
	}
	defer func() { <-a.rsa.place }()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, Fail(Fault, fmt.Sprintf("no RSA key of %d bits can be made", bits), err)
	}
	return key, nil
}

// ownRequest asks for what was planned, with the key that was made. The device's
// own request has a key that nobody wants certified.
func ownRequest(signer crypto.Signer, plan policy.Plan) (*csr.Request, error) {
	subject, err := plan.Names.Subject.MarshalDER()
	if err != nil {
		return nil, err
	}
	template := &x509.CertificateRequest{RawSubject: subject}
	if len(plan.Names.SAN) > 0 {
		san, err := csr.MarshalSAN(plan.Names.SAN)
		if err != nil {
			return nil, err
		}
		template.ExtraExtensions = []pkix.Extension{{Id: oidSAN, Critical: plan.SANCritical, Value: san}}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, signer)
	if err != nil {
		return nil, err
	}
	request, err := csr.Parse(der)
	if err != nil {
		return nil, err
	}
	return request, request.CheckPOP()
}
