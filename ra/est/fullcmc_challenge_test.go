// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"math/big"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/store"
)

// opened gives the proof value of the challenge in a response.
func (x *cmcSite) opened(r *cmc.PKIResponse, key crypto.Signer) (cmc.POPChallenge, []byte) {
	x.t.Helper()
	_, value, present, err := r.Controls.Only(cmc.OIDEncryptedPOP)
	if err != nil || !present {
		x.t.Fatalf("encryptedPOP: %t, %v", present, err)
	}
	challenge := must(cmc.ParsePOPChallenge(value))
	k := cms.Key{KeyID: keyID(key)}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		k.RSA = key
	case *ecdsa.PrivateKey:
		k.ECDH = must(key.ECDH())
	}
	content, err := must(cms.ReadEnveloped(challenge.CMS)).Open(k)
	if err != nil {
		x.t.Fatal(err)
	}
	if err := challenge.Opened(content.Bytes); err != nil {
		x.t.Error(err)
	}
	return challenge, content.Bytes
}

func TestAKeyThatDoesNotSignProvesItselfByAChallenge(t *testing.T) {
	for _, kind := range []string{"rsa2048", "P-256"} {
		t.Run(kind, func(t *testing.T) {
			x := newCMC(t)
			key := csrtest.NewKey(t, kind)
			p := x.password("strict", "CN=a.example")
			ask := must(cmc.NewCRMF(must(template(key, 7, "a.example").Challenged(kind == "P-256"))))
			transaction := cmc.NewControl(901, cmc.OIDTransactionID, cmc.Integer(big.NewInt(time.Now().UnixNano())))
			send := func(nonce string, more ...cmc.Control) got {
				d := identified(p, ask)
				d.Controls = append(append(d.Controls, transaction, cmc.NewControl(902, cmc.OIDSenderNonce, cmc.Octets([]byte(kind+nonce)))), more...)
				return x.post("strict", sealedBy(t, d, p.ID, string(p.Text)))
			}
			first := send("1")
			x.wants("the first message", first, 400, "popRequired 7", "was given a challenge")
			response, _, _ := x.response(first)
			challenge, proof := x.opened(response, key)
			if !bytes.Equal(challenge.Request, ask.Raw) {
				t.Error("the challenge is about another request")
			}
			answer := func(proof []byte) cmc.Control {
				return cmc.NewControl(903, cmc.OIDDecryptedPOP, must(cmc.NewPOPAnswer(ask, proof).Marshal()))
			}
			x.wants("another value", send("2", answer(bytes.Repeat([]byte("x"), 32))), 400, "failed popFailed 7", "was not made with the value")
			x.clock = x.clock.Add(30 * time.Minute)
			g := send("3", answer(proof))
			_, certs, said := x.response(g)
			if g.StatusCode != 200 || said != "success 7" || len(certs) != 1 || certs[0].Subject.CommonName != "a.example" {
				t.Errorf("%d, %s, %d certificates", g.StatusCode, said, len(certs))
			}
		})
	}
}

func TestChallengesThatDoNotHelp(t *testing.T) {
	x := newCMC(t)
	key := csrtest.NewKey(t, "rsa2048")
	ask := must(cmc.NewCRMF(must(template(key, 7, "a.example").Challenged(false))))
	send := func(p store.Created, r cmc.Request, more ...cmc.Control) got {
		d := identified(p, r)
		d.Controls = append(d.Controls, more...)
		return x.post("cmc", sealedBy(t, d, p.ID, string(p.Text)))
	}
	first := send(x.password("cmc"), ask)
	response, _, _ := x.response(first)
	_, proof := x.opened(response, key)
	other := must(cmc.NewCRMF(must(template(key, 7, "b.example").Challenged(false))))
	reply := func(r cmc.Request) cmc.Control {
		return cmc.NewControl(903, cmc.OIDDecryptedPOP, must(cmc.NewPOPAnswer(r, proof).Marshal()))
	}
	x.wants("the value of another request", send(x.password("cmc"), other, reply(other)), 400, "failed popFailed 7", "was not made with the value")
	x.clock = x.clock.Add(2 * challengeLife)
	x.wants("a value that is too old", send(x.password("cmc"), ask, reply(ask)), 400, "failed popFailed 7", "was not made with the value")
	signs := must(cmc.NewCRMF(must(template(csrtest.NewKey(t, "ed25519"), 7, "a.example").Challenged(false))))
	x.wants("a key that can only sign", send(x.password("cmc"), signs), 400, "failed popFailed 7", "nothing can be encrypted")
	nobody := identified(x.password("cmc"), ask)
	g := x.post("cmc", message(t, nobody, byCert(x.partner.Device(t, "x")), x.partner.Device(t, "x").Leaf))
	if g.StatusCode != 403 {
		t.Errorf("somebody without a name is challenged: %d", g.StatusCode)
	}
}
