// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"bytes"
	"crypto"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

const madeByTheCA = `
version: 1
name: keys of the CA
default: a
profiles:
  a:
    serverkeygen: {enabled: true, who: [{http_basic: {users: [u]}}], encryption: if_asked, made_by: upstream, key: P-384}
    subject: {CN: {allow: ["**"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
`

// keyAuthority has an upstream that may make keys.
func keyAuthority(t *testing.T, up ra.Upstream, ca *ratest.CA) (*ra.Authority, *policy.Profile, error) {
	t.Helper()
	file, err := policy.Parse("policy.yaml", []byte(madeByTheCA))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(file, fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Bind(policy.Environment{Users: []string{"u"}, Upstreams: map[string]policy.Capabilities{"test": up.Carries()}}); err != nil {
		return nil, nil, err
	}
	profile, _ := p.Profile("")
	known := ca.Known("test")
	known.Upstream = up
	return &ra.Authority{Policy: p, CAs: map[string]*ra.CA{"test": known}}, profile, nil
}

func TestAKeyOfTheCAIsPassedOnUnopened(t *testing.T) {
	sealing := []csrtest.Option{
		csrtest.Attribute(csr.OIDDecryptKeyID, csrtest.Text(4, "k1")),
		csrtest.Attribute(csr.OIDSMIMECapabilities, csrtest.SEQ()),
	}
	p384, p256 := csrtest.NewKey(t, "P-384").Public(), csrtest.NewKey(t, "P-256").Public()
	for name, c := range map[string]struct {
		opts    []csrtest.Option
		public  any
		private ra.PrivateKey
		err     error
		kind    ra.Kind
		reason  string
		revoked int
	}{
		"in clear":                {public: p384, private: ra.PrivateKey{DER: []byte("no DER at all")}},
		"encrypted":               {opts: sealing, public: p384, private: ra.PrivateKey{DER: []byte("sealed"), Encrypted: true}},
		"in clear, and not to be": {opts: sealing, public: p384, private: ra.PrivateKey{DER: []byte("bare")}, kind: ra.Nonconforming, reason: "in clear", revoked: 1},
		"encrypted, and unasked":  {public: p384, private: ra.PrivateKey{DER: []byte("sealed"), Encrypted: true}, kind: ra.Nonconforming, reason: "other way round", revoked: 1},
		"no key":                  {public: p384, kind: ra.Nonconforming, reason: "no private key", revoked: 1},
		"a key of another kind":   {public: p256, private: ra.PrivateKey{DER: []byte("bare")}, kind: ra.Nonconforming, reason: "the policy refuses the key", revoked: 1},
		"a CA that fails":         {err: ra.Fail(ra.UpstreamDown, "away", nil), kind: ra.UpstreamDown, reason: "away"},
	} {
		t.Run(name, func(t *testing.T) {
			ca := ratest.NewCA(t)
			asked := 0
			maker := &ratest.KeyCA{CA: ca, Make: func(o ra.Order) (any, ra.PrivateKey, error) {
				asked++
				if o.CSR().Key.Algorithm != csr.UnknownKey || o.Key().Curve != "P-384" || len(o.CSR().Raw) == 0 {
					t.Errorf("the order has the key %+v, and %+v is wanted", o.CSR().Key, o.Key())
				}
				if wanted, err := o.CSR().DecryptKey(); err != nil || wanted.Asked() != (len(c.opts) > 0) {
					t.Errorf("the order doesn't say what to encrypt for: %v", err)
				}
				return c.public, ra.PrivateKey{DER: bytes.Clone(c.private.DER), Encrypted: c.private.Encrypted}, c.err
			}}
			a, profile, err := keyAuthority(t, maker, ca)
			if err != nil {
				t.Fatal(err)
			}
			keyless, err := csr.ParseKeyless(csrtest.New(t, c.opts...))
			if err != nil {
				t.Fatal(err)
			}
			out, key, err := a.Keygen(t.Context(), profile, ra.Keygen{Confidential: true, Request: policy.Request{
				Op: policy.ServerKeygen, Keyless: keyless, Who: policy.Identity{Accounts: []policy.Account{{Method: "http_basic", User: "u"}}},
			}})
			if len(ca.Revoked()) != c.revoked || asked != 1 {
				t.Errorf("%d revoked, asked %d times", len(ca.Revoked()), asked)
			}
			if c.reason != "" {
				var fail *ra.Error
				if !errors.As(err, &fail) || fail.Kind != c.kind || !strings.Contains(fail.Text(), c.reason) || key.DER != nil || out.Certificate != nil {
					t.Errorf("%v, key %t", err, key.DER != nil)
				}
				return
			}
			if err != nil || !bytes.Equal(key.DER, c.private.DER) || key.Encrypted != c.private.Encrypted {
				t.Fatalf("the key differs: %v", err)
			}
			if out.Made.By != "upstream" || len(out.Made.SPKISHA256) != 64 || !out.Certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(c.public) {
				t.Errorf("made: %+v", out.Made)
			}
		})
	}
}

func TestAnUpstreamThatMakesNoKeysIsRefusedWhenThePolicyIsLoaded(t *testing.T) {
	ca := ratest.NewCA(t)
	if _, _, err := keyAuthority(t, ca, ca); err == nil || !strings.Contains(err.Error(), "policy.yaml:7:") || !strings.Contains(err.Error(), "makes no keys") {
		t.Errorf("bound: %v", err)
	}
}
