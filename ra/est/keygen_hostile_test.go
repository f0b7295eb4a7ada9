// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/wire"
)

const hostileKeygenRules = `
version: 1
name: keygen
default: keys
guardrails: {limits: {csr_bytes: 48KiB}}
profiles:
  keys:
    labels: [keys]
    enroll: {who: [{http_basic: {users: [estuser]}}], linking: if_present}
    serverkeygen: {enabled: true, encryption: if_asked}
BODY
  devices:
    labels: [devices]
    serverkeygen: {enabled: true, who: [{client_cert: {anchor: idevid}}], encryption: if_asked}
BODY
`

// What asks for encryption, however oddly, never gets a key in clear, nor any.
func TestThreat_HostileKeygenAttributesAreRefusedOnceAndAtABoundedCost(t *testing.T) {
	kek := bytes.Repeat([]byte{7}, 32)
	x := newSite(t, under(strings.ReplaceAll(hostileKeygenRules, "BODY", strings.Trim(body, "\n"))), func(x *site) {
		x.Authority.DecryptKeys = keyring{user: "somebody else", id: "wrap-1", key: kek}
	})
	octets := func(oid string, values ...string) csrtest.Option {
		var list [][]byte
		for _, v := range values {
			list = append(list, csrtest.Text(4, v))
		}
		return csrtest.Attribute(oid, list...)
	}
	capabilities := func(values ...[]byte) csrtest.Option {
		return csrtest.Attribute(csr.OIDSMIMECapabilities, values...)
	}
	one := func(oid string) []byte { return csrtest.SEQ(csrtest.OID(oid)) }
	const aes256CBC, aes256Wrap, ecdh = "2.16.840.1.101.3.4.1.42", "2.16.840.1.101.3.4.1.45", "1.3.132.1.11.1"
	all := csrtest.SEQ(one(aes256CBC), one(aes256Wrap), one(ecdh), one("1.2.840.113549.1.1.1"))
	own := x.keyed(x509.KeyUsageKeyAgreement, "P-256")
	mine, yours, theirs := octets(csr.OIDAsymmDecryptKeyID, "ski of P-256"), octets(csr.OIDAsymmDecryptKeyID, "ski of another"), octets(csr.OIDDecryptKeyID, "wrap-1")
	long := func(n int) []byte { return csrtest.SEQ(bytes.Repeat([]byte{0x30, 3, 6, 1, 0x2a}, n)) }
	for name, test := range map[string]struct {
		opts   []csrtest.Option
		status int
	}{
		"the identifier of another device's key":     {[]csrtest.Option{theirs, capabilities(all)}, 403},
		"that of another device's certificate":       {[]csrtest.Option{yours, capabilities(all)}, 403},
		"both identifiers":                           {[]csrtest.Option{mine, theirs, capabilities(all)}, 403},
		"both, of which one is empty":                {[]csrtest.Option{mine, octets(csr.OIDDecryptKeyID), capabilities(all)}, 403},
		"an identifier with two values":              {[]csrtest.Option{octets(csr.OIDAsymmDecryptKeyID, "ski of P-256", "ski of P-256"), capabilities(all)}, 403},
		"an identifier without a value":              {[]csrtest.Option{octets(csr.OIDAsymmDecryptKeyID), capabilities(all)}, 403},
		"an identifier that is empty":                {[]csrtest.Option{octets(csr.OIDDecryptKeyID, ""), capabilities(all)}, 403},
		"an identifier that is text":                 {[]csrtest.Option{csrtest.Attribute(csr.OIDDecryptKeyID, csrtest.UTF8("wrap-1")), capabilities(all)}, 403},
		"an identifier of 129 bytes":                 {[]csrtest.Option{octets(csr.OIDDecryptKeyID, strings.Repeat("x", 129)), capabilities(all)}, 403},
		"an identifier of 40 KiB":                    {[]csrtest.Option{octets(csr.OIDDecryptKeyID, strings.Repeat("x", 40<<10)), capabilities(all)}, 403},
		"an identifier of 64 KiB":                    {[]csrtest.Option{octets(csr.OIDDecryptKeyID, strings.Repeat("x", 64<<10)), capabilities(all)}, 413},
		"no capabilities":                            {[]csrtest.Option{mine}, 403},
		"capabilities without a value":               {[]csrtest.Option{mine, capabilities()}, 403},
		"two lists of capabilities":                  {[]csrtest.Option{mine, capabilities(all, csrtest.SEQ())}, 403},
		"an empty list of capabilities":              {[]csrtest.Option{mine, capabilities(csrtest.SEQ())}, 403},
		"capabilities that are NULL":                 {[]csrtest.Option{mine, capabilities([]byte{5, 0})}, 403},
		"capabilities that are numbers":              {[]csrtest.Option{mine, capabilities(csrtest.SEQ(csrtest.INTEGER(1)))}, 403},
		"a capability without an OID":                {[]csrtest.Option{mine, capabilities(csrtest.SEQ(one(aes256CBC), csrtest.SEQ(), one(ecdh)))}, 403},
		"a capability with two parameters":           {[]csrtest.Option{mine, capabilities(csrtest.SEQ(one(aes256CBC), csrtest.SEQ(csrtest.OID(ecdh), one(aes256Wrap), one(aes256Wrap))))}, 403},
		"a capability with a wrap of nothing":        {[]csrtest.Option{mine, capabilities(csrtest.SEQ(one(aes256CBC), csrtest.SEQ(csrtest.OID(ecdh), csrtest.SEQ())))}, 403},
		"capabilities nested 3,000 deep":             {[]csrtest.Option{mine, capabilities(nested(3000))}, 403},
		"a parameter nested 3,000 deep":              {[]csrtest.Option{mine, capabilities(csrtest.SEQ(one(aes256CBC), csrtest.SEQ(csrtest.OID(ecdh), nested(3000))))}, 403},
		"65 capabilities, of which the last is ours": {[]csrtest.Option{mine, capabilities(csrtest.SEQ(bytes.Repeat(one("1.2.3"), 64), one(aes256CBC), one(ecdh), one(aes256Wrap)))}, 403},
		"9,000 capabilities":                         {[]csrtest.Option{mine, capabilities(long(9000))}, 403},
		"10,000 capabilities":                        {[]csrtest.Option{mine, capabilities(long(10_000))}, 413},
		"a cipher that is broken":                    {[]csrtest.Option{mine, capabilities(csrtest.SEQ(one("1.2.840.113549.3.7"), one("1.3.14.3.2.7"), one(ecdh), one(aes256Wrap)))}, 403},
	} {
		for _, at := range []struct {
			path, user string
			certs      []tls.Certificate
		}{{"keys/serverkeygen", right, nil}, {"devices/serverkeygen", "", []tls.Certificate{*own}}} {
			t.Run(name+" at "+at.path, func(t *testing.T) {
				g, records := x.counted(t, func() got {
					return x.do(call{path: at.path, user: at.user, certs: at.certs, body: csrBody(t, test.opts...)})
				})
				if g.StatusCode != test.status || g.Header.Get("Content-Type") != wire.TypeText {
					t.Errorf("%d %s %.200q, want %d", g.StatusCode, g.Header.Get("Content-Type"), g.body, test.status)
				}
				if len(records) != 1 || records[0].Made != nil || records[0].Cert != nil || records[0].Outcome != "refused" {
					t.Errorf("%d records; the first: %+v", len(records), records[0])
				}
			})
		}
	}
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
	// The list is good with the right identifier, so that what is refused above
	// is refused for what it says.
	g := x.do(call{path: "devices/serverkeygen", certs: []tls.Certificate{*own}, body: csrBody(t, mine, capabilities(all))})
	if g.StatusCode != 200 || strings.Contains(g.body, wire.TypePKCS8) {
		t.Errorf("%d %q", g.StatusCode, g.body)
	}
}

// A request that /serverkeygen reads, since it looks at neither key nor
// signature, is none to the operations that want proof of possession.
func TestThreat_WhatKeygenReadsProvesNothingElsewhere(t *testing.T) {
	x := newSite(t, under(strings.ReplaceAll(hostileKeygenRules, "BODY", strings.Trim(body, "\n"))))
	unread := csrtest.SPKI(csrtest.SEQ())
	for name, opts := range map[string][]csrtest.Option{"a bad signature": {csrtest.BadSignature()}, "no key": {unread, csrtest.BadSignature()}} {
		if g := x.do(call{path: "keys/serverkeygen", user: right, body: csrBody(t, opts...)}); g.StatusCode != 200 {
			t.Errorf("%s: %d %s", name, g.StatusCode, g.body)
		}
		issued := len(x.ca.Issued())
		if g := x.do(call{path: "keys/simpleenroll", user: right, body: csrBody(t, opts...)}); g.StatusCode != 400 || len(x.ca.Issued()) != issued {
			t.Errorf("%s: at simpleenroll %d %s", name, g.StatusCode, g.body)
		}
	}
}

// brokenCA fails once the key is made.
type brokenCA struct {
	*ratest.CA
	fail func(ra.Order) error
}

func (c brokenCA) Issue(_ context.Context, o ra.Order) (ra.Issued, error) {
	return ra.Issued{}, c.fail(o)
}

// How each PrivateKeyInfo of a P-256 key begins, in all forms that a text could
// have it in.
func beginsAKey(text string) bool {
	head, _ := hex.DecodeString("308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420")
	return slices.ContainsFunc([]string{
		string(head), b64(head), hex.EncodeToString(head), fmt.Sprintf("%d", head[:20])[1:50], fmt.Sprintf("%#v", head)[8:60], fmt.Sprintf("%q", head[:12])[1:],
	}, func(form string) bool { return strings.Contains(text, form) })
}

func TestThreat_AFailureAfterTheKeyWasMadeTellsNothingOfIt(t *testing.T) {
	x := newSite(t)
	if g := x.do(call{path: "keys/serverkeygen", user: right}); !beginsAKey(g.body) {
		t.Fatalf("the key begins otherwise than this test thinks: %s", g.body)
	}
	for name, fail := range map[string]func(ra.Order) error{
		"a panic":  func(o ra.Order) error { panic(o) },
		"an error": func(o ra.Order) error { return fmt.Errorf("%+v", o) },
	} {
		x.Authority.CAs["test"].Upstream = brokenCA{x.ca, fail}
		g, records := x.counted(t, func() got { return x.do(call{path: "keys/serverkeygen", user: right}) })
		_, rep := x.last(g.Header.Get("X-Request-Id"))
		kept, err := json.Marshal(records)
		if err != nil {
			t.Fatal(err)
		}
		told := fmt.Sprintf("%s %+v %#v %+v %+v %s", kept, records[0], records[0], rep, rep.Err.Err, g.body)
		if g.StatusCode < 500 || len(records) != 1 || records[0].Cert != nil || beginsAKey(told) {
			t.Errorf("%s: %d, %d records: %s", name, g.StatusCode, len(records), told)
		}
	}
}

// Another's request for the same names is none of its repeats: it gets a key of
// its own, and takes nothing from the first.
func TestThreat_NobodyRepeatsTheKeyRequestOfAnother(t *testing.T) {
	kept, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "store.db"), store.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	x := newSite(t, func(x *site) { x.Authority.Made = kept.Made() })
	ask := csrBody(t)
	var keys []string
	for _, c := range []call{
		{user: right}, {certs: certOf(x.device("dev-1"))}, {certs: certOf(x.device("dev-2"))},
	} {
		c.path, c.body = "keys/serverkeygen", ask
		_, der, _ := x.do(c).generated(t)
		keys = append(keys, string(der))
	}
	slices.Sort(keys)
	if len(slices.Compact(keys)) != 3 || len(x.ca.Revoked()) > 0 {
		t.Errorf("%d certificates are revoked, or a key came twice", len(x.ca.Revoked()))
	}
}
