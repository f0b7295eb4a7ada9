// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

func TestAKeylessRequestIsReadWhateverItsKeyAndSignatureAre(t *testing.T) {
	info := func(key []byte) []byte {
		return SEQ(INTEGER(0), Name(CN("device.example")), key, TLV(asn1.Tag(0).ContextSpecific().Constructed()))
	}
	for name, der := range map[string][]byte{
		"a good one":              New(t),
		"a bad signature":         New(t, BadSignature()),
		"an unknown kind of key":  New(t, SPKI(SEQ(SEQ(OID("1.2.3")), BITS(0, 1)))),
		"a malformed RSA key":     New(t, SPKI(SEQ(SEQ(OID("1.2.840.113549.1.1.1"), []byte{5, 0}), BITS(0, 1)))),
		"no key to speak of":      SEQ(info(SEQ()), SEQ(), BITS(0)),
		"something else than one": SEQ(info([]byte{5, 0}), []byte{5, 0}, UTF8("nothing")),
	} {
		k, err := csr.ParseKeyless(der)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		r := k.Unkeyed()
		if r.Names.Subject.String() != "CN=device.example" || !bytes.Equal(r.Raw, der) {
			t.Errorf("%s: the subject is %s", name, r.Names.Subject)
		}
		if r.Key != (csr.Key{}) || r.RawSPKI != nil || r.Signature != nil || r.SignatureName() != "" || r.SPKISHA256() != "" {
			t.Errorf("%s: something of the key or the signature was kept: %+v", name, r)
		}
		if r.CheckPOP() == nil {
			t.Errorf("%s: it proves possession of a key", name)
		}
	}
}

func TestAKeylessRequestIsStillDER(t *testing.T) {
	good := New(t)
	for name, der := range map[string][]byte{
		"nothing":                nil,
		"trailing bytes":         append(bytes.Clone(good), 0),
		"no signature":           SEQ(SEQ(INTEGER(0), Name(), SEQ(), TLV(asn1.Tag(0).ContextSpecific().Constructed())), SEQ()),
		"one value too many":     SEQ(SEQ(INTEGER(0), Name(), SEQ(), TLV(asn1.Tag(0).ContextSpecific().Constructed())), SEQ(), BITS(0), SEQ()),
		"an attribute twice":     New(t, Attribute("1.2.3", SEQ()), Attribute("1.2.3", SEQ())),
		"another version":        New(t, Version(1)),
		"a SAN that isn't names": New(t, Extension(SubjectAltName, false, INTEGER(1))),
	} {
		if k, err := csr.ParseKeyless(der); err == nil || k != nil {
			t.Errorf("%s: read", name)
		}
	}
	if (*csr.Keyless)(nil).Unkeyed() != nil {
		t.Error("of no request there is one without a key")
	}
}

func TestTheKeyToEncryptFor(t *testing.T) {
	capabilities := SEQ(SEQ(OID("2.16.840.1.101.3.4.1.45")))
	both := []Option{Attribute(csr.OIDDecryptKeyID, octets("a")), Attribute(csr.OIDAsymmDecryptKeyID, octets("b"))}
	for name, c := range map[string]struct {
		opts []Option
		want csr.DecryptKey
		err  string
	}{
		"nothing asked for":      {},
		"capabilities alone":     {opts: []Option{Attribute(csr.OIDSMIMECapabilities, capabilities)}, want: csr.DecryptKey{Capabilities: capabilities}},
		"a symmetric key":        {opts: []Option{Attribute(csr.OIDDecryptKeyID, octets("k1"))}, want: csr.DecryptKey{ID: []byte("k1")}},
		"an asymmetric key":      {opts: []Option{Attribute(csr.OIDAsymmDecryptKeyID, octets("ski")), Attribute(csr.OIDSMIMECapabilities, capabilities)}, want: csr.DecryptKey{ID: []byte("ski"), Asymmetric: true, Capabilities: capabilities}},
		"both":                   {opts: both, err: "both"},
		"an empty identifier":    {opts: []Option{Attribute(csr.OIDDecryptKeyID, octets(""))}, err: "decryptKeyID"},
		"one that is too long":   {opts: []Option{Attribute(csr.OIDDecryptKeyID, octets(strings.Repeat("x", 129)))}, err: "decryptKeyID"},
		"no value":               {opts: []Option{Attribute(csr.OIDAsymmDecryptKeyID)}, err: "0 values"},
		"two values":             {opts: []Option{Attribute(csr.OIDDecryptKeyID, octets("a"), octets("b"))}, err: "2 values"},
		"no OCTET STRING":        {opts: []Option{Attribute(csr.OIDDecryptKeyID, UTF8("a"))}, err: "OCTET STRING"},
		"two lists of abilities": {opts: []Option{Attribute(csr.OIDSMIMECapabilities, SEQ(), SEQ())}, err: "smimeCapabilities: 2 values"},
	} {
		k, err := csr.ParseKeyless(New(t, c.opts...))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := k.Unkeyed().DecryptKey()
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || got.Asked() {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
			continue
		}
		if err != nil || !bytes.Equal(got.ID, c.want.ID) || got.Asymmetric != c.want.Asymmetric ||
			!bytes.Equal(got.Capabilities, c.want.Capabilities) || got.Asked() != (len(c.want.ID) > 0) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// FuzzParseKeyless holds that whatever Parse takes is taken here too, with the
// same names, and that nothing of a key comes along.
func FuzzParseKeyless(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		k, err := csr.ParseKeyless(der)
		whole, errWhole := csr.Parse(der)
		if err != nil {
			if errWhole == nil {
				t.Errorf("Parse reads it, and this doesn't: %v", err)
			}
			return
		}
		r := k.Unkeyed()
		if r.Key != (csr.Key{}) || r.RawSPKI != nil || r.CheckPOP() == nil {
			t.Errorf("a key came along: %+v", r.Key)
		}
		_, _ = r.DecryptKey()
		if errWhole == nil && r.Names.Subject.String() != whole.Names.Subject.String() {
			t.Errorf("subject %s, and Parse has %s", r.Names.Subject, whole.Names.Subject)
		}
	})
}
