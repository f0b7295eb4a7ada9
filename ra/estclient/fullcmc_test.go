// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/cmc"
)

func otpSecret() *SharedSecret { return &SharedSecret{Identification: otpID, Secret: otp} }

// certified gives a key a certificate of the CA.
func (x *cmcServer) certified(name string, change ...func(*x509.Certificate)) (tls.Certificate, *x509.Certificate) {
	key := newKey(x.t)
	template := x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}}
	for _, c := range change {
		c(&template)
	}
	leaf := x.ca.issue(template, key.Public())
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}, leaf
}

func TestFullCMCEnrolls(t *testing.T) {
	x := serveCMC(t)
	current, leaf := x.certified("a.example")
	ra, _ := x.certified("ra.example", withUsage(cmcRA))
	names, err := csr.NamesOf(leaf)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Request(rand.Reader, newKey(t), device(t, "c.example"), "")
	if err != nil {
		t.Fatal(err)
	}
	wish := func(name string) Wish { return Wish{Key: newKey(t), Template: device(t, name)} }
	inCRMF := func(w Wish) Wish { w.CRMF = true; return w }
	const ids, tx = "senderNonce transactionId", " identification popLinkRandom"
	sum := sha256.Sum256([]byte(otp))
	for name, test := range map[string]struct {
		ask      FullRequest
		controls string
		tls      int
	}{
		"the key of the request signs":      {FullRequest{Wishes: []Wish{wish("a.example")}}, ids, 0},
		"so it does over CRMF":              {FullRequest{Wishes: []Wish{inCRMF(wish("a.example"))}}, ids, 0},
		"a one-time password proves who":    {FullRequest{Wishes: []Wish{wish("a.example")}, Secret: otpSecret()}, ids + tx + " identityProofV2", 0},
		"so it does over CRMF as well":      {FullRequest{Wishes: []Wish{inCRMF(wish("a.example"))}, Secret: otpSecret()}, ids + tx + " identityProofV2", 0},
		"two requests by the first's key":   {FullRequest{Wishes: []Wish{wish("a.example"), inCRMF(wish("b.example"))}, Secret: otpSecret()}, ids + tx + " identityProofV2", 0},
		"a MAC in the place of a signature": {FullRequest{Wishes: []Wish{wish("a.example")}, Secret: otpSecret(), MAC: true}, ids + tx, 0},
		"a MAC by the hash of the secret":   {FullRequest{Wishes: []Wish{wish("a.example")}, Secret: otpSecret(), MAC: true, HashedMAC: true}, ids + tx, 0},
		"a certificate is renewed":          {FullRequest{Wishes: []Wish{{Key: newKey(t), Template: Template{Names: names}, KeepNames: true}}, Signer: &current}, ids, 1},
		"it is renewed with the same key": {FullRequest{
			Wishes: []Wish{{Key: current.PrivateKey.(crypto.Signer), Template: Template{Names: names}, KeepNames: true}}, Signer: &current,
		}, ids, 1},
		"a registration authority brings what others made": {FullRequest{Wishes: []Wish{{CSR: other}, inCRMF(wish("b.example"))}, Signer: &ra}, ids, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if x.macSecret = otp; test.ask.HashedMAC {
				x.macSecret = hex.EncodeToString(sum[:])
			}
			done, err := x.client().FullCMC(context.Background(), test.ask)
			if err != nil {
				t.Fatal(err)
			}
			got := x.got[len(x.got)-1]
			if c := controlsOf(got.data); c != test.controls || got.tls != test.tls {
				t.Errorf("controls %q, %d TLS certificates", c, got.tls)
			}
			if len(done.Parts) != len(test.ask.Wishes) || done.Signer == nil || done.RequestID != "abc" {
				t.Fatalf("%+v", done)
			}
			for i, p := range done.Parts {
				public, _ := test.ask.Wishes[i].public()
				if p.Enrolled == nil || p.Query != nil || !sameKey(p.Enrolled.Certificate.PublicKey, public) || len(p.Enrolled.Chain) != 3 || len(p.Enrolled.CSR) == 0 {
					t.Errorf("%+v", p)
				}
			}
		})
	}
}

func TestEveryKindOfKeySignsAFullCMCRequest(t *testing.T) {
	x := serveCMC(t)
	keys := map[string]func() (crypto.Signer, error){
		"RSA":   func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
		"P-384": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) },
		"P-521": func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) },
		"Ed25519": func() (crypto.Signer, error) {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			return key, err
		},
	}
	for name, make := range keys {
		for _, crmf := range []bool{false, true} {
			key, err := make()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: key, Template: device(t, "a"), CRMF: crmf}}}); err != nil {
				t.Errorf("%s, CRMF %v: %v", name, crmf, err)
			}
		}
	}
}

// RFC 7030 section 3.5 for those servers that want it of Full CMC too.
func TestFullCMCRequestsAreLinkedToTheirChannel(t *testing.T) {
	for _, crmf := range []bool{false, true} {
		x := serveCMC(t)
		x.attrs = asksChallenge
		done, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: newKey(t), Template: device(t, "a"), CRMF: crmf}}})
		if err != nil {
			t.Fatal(err)
		}
		request, err := x.got[0].data.Requests[0].CSR()
		if err != nil {
			t.Fatal(err)
		}
		list := x.seen()
		state := list[len(list)-1].tls
		if got := binding.Check(binding.FromTLS(&state), request); got != policy.Matched || done.Parts[0].Enrolled.Linked != binding.TLSExporter {
			t.Errorf("CRMF %v: linking is %s, reported %q", crmf, got, done.Parts[0].Enrolled.Linked)
		}
	}
}

// Where /csrattrs doesn't say so and a refusal does, it is asked once more.
func TestFullCMCIsLinkedWhenARefusalAsksForIt(t *testing.T) {
	x := serveCMC(t)
	x.linkBy = binding.TLSExporter
	done, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: newKey(t), Template: device(t, "a")}}})
	if err != nil || done.Parts[0].Enrolled.Linked != binding.TLSExporter || len(x.got) != 2 {
		t.Errorf("%+v, error %v, %d requests", done, err, len(x.got))
	}
}

// Who asks for a critical extension knows it, if crypto/x509 doesn't.
func TestFullCMCTakesACriticalExtensionThatWasAskedFor(t *testing.T) {
	x, id := serveCMC(t), asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}
	x.edit = func(r *cmcReply) {
		own := []pkix.Extension{{Id: id, Critical: true, Value: []byte{5, 0}}}
		r.certs[0] = x.ca.issue(x509.Certificate{ExtraExtensions: own}, r.certs[0].PublicKey)
	}
	for _, crmf := range []bool{false, true} {
		asks := device(t, "a")
		if _, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: newKey(t), Template: asks, CRMF: crmf}}}); err == nil {
			t.Error("an extension that nobody asked for is taken")
		}
		asks.Extensions = []csr.Extension{{ID: id, Critical: true, Value: []byte{5, 0}}}
		if _, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: newKey(t), Template: asks, CRMF: crmf}}}); err != nil {
			t.Error(err)
		}
	}
}

func TestFullCMCRevokes(t *testing.T) {
	x := serveCMC(t)
	own, leaf := x.certified("a.example")
	lost := cmc.Revocation{CertID: cmc.CertID{Issuer: leaf.RawIssuer, Serial: leaf.SerialNumber}, Reason: 1, Comment: "stolen"}
	told := lost
	told.Secret = []byte(otp)
	for name, test := range map[string]struct {
		ask      FullRequest
		controls string
	}{
		"its own": {FullRequest{Revoke: []cmc.Revocation{lost}, Signer: &own, Others: []*x509.Certificate{leaf}}, "revokeRequest senderNonce transactionId"},
		"by a shared secret, since the key is lost": {FullRequest{Revoke: []cmc.Revocation{told}, Secret: otpSecret(), MAC: true}, "revokeRequest senderNonce transactionId identification"},
	} {
		t.Run(name, func(t *testing.T) {
			done, err := x.client().FullCMC(context.Background(), test.ask)
			if err != nil {
				t.Fatal(err)
			}
			got := x.got[len(x.got)-1]
			if c := controlsOf(got.data); c != test.controls {
				t.Errorf("controls %q", c)
			}
			r, err := cmc.ParseRevocation(got.data.Controls[0].Values[0])
			if err != nil || r.Serial.Cmp(leaf.SerialNumber) != 0 || r.Reason != 1 || r.Comment != "stolen" || !bytes.Equal(r.Secret, test.ask.Revoke[0].Secret) {
				t.Errorf("%+v, %v", r, err)
			}
			if len(done.Parts) != 1 || !strings.HasPrefix(done.Parts[0].What, "revocation of ") || done.Parts[0].Words() != "granted" {
				t.Errorf("%+v", done.Parts)
			}
		})
	}
}

// What is pending is asked for again with the token, the transaction and the
// server's nonce of the answer.
func TestFullCMCAsksForWhatIsPending(t *testing.T) {
	x := serveCMC(t)
	wishes := []Wish{{Key: x.pending, Template: device(t, "a.example")}}
	when := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	x.edit = func(r *cmcReply) {
		r.certs = nil
		r.say(t, cmc.StatusInfo{Status: cmc.Pending, Bodies: cmc.To(1), Text: "an operator decides", Pend: &cmc.PendInfo{Token: []byte("token"), Time: when}})
	}
	done, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: wishes})
	refused, ok := errors.AsType[*CMCError](err)
	if !ok || !refused.Pending() || done.Parts[0].Query == nil {
		t.Fatalf("%+v, error %v", done, err)
	}
	if want := "request 1 (CN=a.example): waits for a decision, ask again from 2030-01-02 03:04:05 UTC on: an operator decides"; !strings.Contains(err.Error(), want) {
		t.Errorf("error %v", err)
	}
	first := done.Parts[0].Query
	// Still pending, and without a word of how to ask: as before.
	x.edit = func(r *cmcReply) {
		r.certs = nil
		r.say(t, cmc.StatusInfo{Status: cmc.Pending, Bodies: cmc.To(0)})
	}
	again, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: wishes, Query: first})
	if err == nil || again.Parts[0].Query == nil || string(again.Parts[0].Query.Token) != "token" {
		t.Fatalf("%+v, error %v", again, err)
	}
	x.edit = nil
	granted, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: wishes, Query: again.Parts[0].Query})
	if err != nil {
		t.Fatal(err)
	}
	if granted.Parts[0].Enrolled == nil || !sameKey(granted.Parts[0].Enrolled.Certificate.PublicKey, x.pending.Public()) {
		t.Errorf("%+v", granted.Parts)
	}
	last := x.got[2].data
	nonce, _, _ := last.Controls.Octets(cmc.OIDRecipientNonce)
	transaction, _, _ := last.Controls.TransactionID()
	if len(last.Requests) != 0 || string(nonce) != "the server's own" || transaction.Cmp(first.Transaction) != 0 {
		t.Errorf("%s, nonce %q, transaction %v", controlsOf(last), nonce, transaction)
	}
}

func TestFullCMCRequestsThatMakeNoSense(t *testing.T) {
	key, c := newKey(t), &Client{}
	wish := Wish{Key: key, Template: Template{}}
	signer := &tls.Certificate{PrivateKey: key}
	for name, test := range map[string]struct {
		ask  FullRequest
		want string
	}{
		"nothing":                   {FullRequest{}, "nothing is asked for"},
		"a MAC without a secret":    {FullRequest{Wishes: []Wish{wish}, MAC: true}, "needs a shared secret"},
		"a hash without a MAC":      {FullRequest{Wishes: []Wish{wish}, Secret: otpSecret(), HashedMAC: true}, "for a MAC alone"},
		"a MAC and a signature":     {FullRequest{Wishes: []Wish{wish}, MAC: true, Secret: otpSecret(), Signer: signer}, "not both"},
		"an empty secret":           {FullRequest{Wishes: []Wish{wish}, Secret: &SharedSecret{}}, "secret is empty"},
		"nobody who signs":          {FullRequest{Revoke: []cmc.Revocation{{}}}, "nobody can sign"},
		"a CSR of somebody else":    {FullRequest{Wishes: []Wish{{CSR: []byte{1}}}}, "nobody can sign"},
		"a query without a token":   {FullRequest{Wishes: []Wish{wish}, Query: &Query{}}, "token"},
		"a query without a request": {FullRequest{Query: &Query{Token: []byte{1}, Transaction: big.NewInt(1)}}, "needs the key"},
	} {
		if _, err := c.FullCMC(context.Background(), test.ask); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
	}
	x := serveCMC(t)
	if _, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{wish, wish}}); err == nil || !strings.Contains(err.Error(), "requests 1 and 2 have the same key") {
		t.Errorf("error %v", err)
	}
	if _, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{CSR: []byte("x")}}, Signer: signer}); err == nil || !strings.Contains(err.Error(), "request 1: ") {
		t.Errorf("error %v", err)
	}
}
