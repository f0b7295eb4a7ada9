// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
)

const castleSecret = "correct horse battery"

// castleRequest is a request that Bouncy Castle makes: verb is pkcs10 or crmf.
func (c *castle) request(t *testing.T, verb string, key *ecdsa.PrivateKey, more ...string) string {
	t.Helper()
	return c.ask(t, verb, form(append(more, "key", pkcs8(t, key), "public", spki(t, &key.PublicKey), "ski", "yes")...)).Get("der")
}

// fullRequest is a Full PKI Request; where nobody else does, the key signs it.
func (c *castle) fullRequest(t *testing.T, key *ecdsa.PrivateKey, question url.Values) []byte {
	t.Helper()
	if key != nil {
		question.Set("signerKey", pkcs8(t, key))
		question.Set("signerPublic", spki(t, &key.PublicKey))
	}
	return octets(t, c.ask(t, "pkidata", question).Get("der"))
}

// pkiData reads a Full PKI Request that a key has signed.
func pkiData(t *testing.T, message []byte, key *ecdsa.PrivateKey) *cmc.PKIData {
	t.Helper()
	signed, err := cms.ReadSigned(message)
	if err != nil {
		t.Fatal(err)
	}
	v, err := signed.Verify(func(cms.Unverified) (cms.SignerKey, error) { return cms.SignerKey{Public: &key.PublicKey}, nil })
	if err != nil {
		t.Fatal(err)
	}
	if v.Content().Type != cms.IDPKIData {
		t.Fatalf("the content is of type %s", v.Content().Type)
	}
	der, err := cms.DER(v.Content().Bytes)
	if err != nil {
		t.Fatal(err)
	}
	data, err := cmc.ParsePKIData(der)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestWeReadWhatBouncyCastleRequests(t *testing.T) {
	t.Parallel()
	c := bouncyCastle(t)
	random, nonce := bytes.Repeat([]byte("r"), 64), []byte("sixteen octets..")
	one, two := newKey(t), newKey(t)
	link := []string{"linkRandom", b64(random), "linkSecret", castleSecret}
	tcr := c.request(t, "pkcs10", one, append(link, "subject", "CN=a.example.net", "dns", "a.example.net")...)
	crm := c.request(t, "crmf", two, append(link, "id", "7", "subject", "CN=b.example.net", "dns", "b.example.net")...)
	for _, encoding := range []string{"der", "ber"} {
		data := pkiData(t, c.fullRequest(t, one, form("tcr", "5 "+tcr, "crm", crm, "identification", "device-1", "secret", castleSecret,
			"linkRandom", b64(random), "transactionId", "4711", "senderNonce", b64(nonce), "form", encoding)), one)
		if id, _, err := data.Controls.TransactionID(); err != nil || id.Cmp(big.NewInt(4711)) != 0 {
			t.Errorf("%s: transactionId %v, %v", encoding, id, err)
		}
		if got, _, err := data.Controls.Octets(cmc.OIDSenderNonce); err != nil || !bytes.Equal(got, nonce) {
			t.Errorf("%s: senderNonce %x, %v", encoding, got, err)
		}
		who, _, err := data.Controls.Identification()
		if err != nil || who != "device-1" {
			t.Errorf("%s: identification %q, %v", encoding, who, err)
		}
		_, proof, _, err := data.Controls.Only(cmc.OIDIdentityProofV2)
		if err != nil {
			t.Fatal(err)
		}
		if err := witnessed(t, proof, castleSecret, who, data.RawRequests); err != nil {
			t.Errorf("%s: identityProofV2: %v", encoding, err)
		}
		if witnessed(t, proof, castleSecret, "", data.RawRequests) == nil || witnessed(t, proof, "wrong", who, data.RawRequests) == nil {
			t.Errorf("%s: identityProofV2 is good for another identity or another secret", encoding)
		}
		requested(t, data, map[cmc.BodyPartID]string{5: "a.example.net", 7: "b.example.net"}, random)
	}
}

// witnessed verifies an identityProofV2 or a popLinkWitnessV2.
func witnessed(t *testing.T, value []byte, secret, identification string, message []byte) error {
	t.Helper()
	w, err := cmc.ParseWitness(value)
	if err != nil {
		t.Fatal(err)
	}
	key, err := w.Key([]byte(secret), identification)
	if err != nil {
		t.Fatal(err)
	}
	return w.Verify(key, message)
}

// requested holds the requests to their names, their proofs and their links.
func requested(t *testing.T, data *cmc.PKIData, want map[cmc.BodyPartID]string, random []byte) {
	t.Helper()
	if len(data.Requests) != len(want) {
		t.Fatalf("%d requests", len(data.Requests))
	}
	for id, name := range want {
		r, _ := data.Request(id)
		parsed, err := r.CSR()
		if err != nil {
			t.Fatalf("request %v: %v", id, err)
		}
		if err := parsed.CheckPOP(); err != nil {
			t.Errorf("request %v: %v", id, err)
		}
		if got := parsed.Names.SAN; len(got) != 1 || got[0].Form != csr.DNS || got[0].Value != name {
			t.Errorf("request %v: the SAN is %v", id, got)
		}
		link, found := parsed.Attribute(cmc.OIDPopLinkWitnessV2)
		if !found {
			t.Fatalf("request %v has no popLinkWitnessV2", id)
		}
		if err := witnessed(t, link.Values[0], castleSecret, "", random); err != nil {
			t.Errorf("request %v: popLinkWitnessV2: %v", id, err)
		}
	}
}

func TestWeTellTheProofsOfBouncyCastlesRequests(t *testing.T) {
	t.Parallel()
	c, key := bouncyCastle(t), newKey(t)
	for pop, want := range map[string]cmc.POPKind{
		"signature": cmc.SignaturePOP, "bad": cmc.SignaturePOP, "raVerified": cmc.RAVerified, "encrypt": cmc.ChallengePOP, "none": cmc.NoPOP,
	} {
		crm := c.request(t, "crmf", key, "id", "1", "subject", "CN=a.example.net", "pop", pop)
		r, found := pkiData(t, c.fullRequest(t, key, form("crm", crm)), key).Request(1)
		if !found || r.CRMF.POP.Kind != want {
			t.Fatalf("%s: read as %v", pop, r.CRMF.POP.Kind)
		}
		parsed, err := r.CSR()
		if err != nil {
			t.Fatalf("%s: %v", pop, err)
		}
		if err := parsed.CheckPOP(); (err == nil) != (pop == "signature") {
			t.Errorf("%s: the proof is %v", pop, err)
		}
	}
	tcr := c.request(t, "pkcs10", key, "subject", "CN=a.example.net", "pop", "bad")
	r, _ := pkiData(t, c.fullRequest(t, key, form("tcr", "1 "+tcr)), key).Request(1)
	if parsed, err := r.CSR(); err != nil || parsed.CheckPOP() == nil {
		t.Errorf("PKCS #10 with a bad proof: %v", err)
	}
}

// answered is what Bouncy Castle reads in a Full PKI Response of ours.
func answered(t *testing.T, controls cmc.Controls, certs ...*x509.Certificate) url.Values {
	t.Helper()
	key := newKey(t)
	ra := certified(t, &key.PublicKey, key)
	der, err := (&cmc.PKIResponse{Controls: controls}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	message, err := cms.Sign(cms.Content{Type: cms.IDPKIResponse, Bytes: der}, append(certs, ra),
		cms.Signer{Key: key, ID: cms.IssuerAndSerial(ra)})
	if err != nil {
		t.Fatal(err)
	}
	answer := bouncyCastle(t).ask(t, "pkiresponse", form("der", b64(message)))
	if answer.Get("kind") != "full" || answer.Get("signer") != b64(ra.Raw) {
		t.Errorf("read as %v", answer)
	}
	return answer
}

func TestBouncyCastleReadsOurStates(t *testing.T) {
	t.Parallel()
	cases := map[string]cmc.StatusInfo{
		"success|1||":              {Status: cmc.Success, Bodies: cmc.To(1)},
		"noSupport|3||not here":    {Status: cmc.NoSupport, Bodies: cmc.To(3), Text: "not here"},
		"confirmRequired|1,2||":    {Status: cmc.ConfirmRequired, Bodies: cmc.To(1, 2)},
		"popRequired|1||":          {Status: cmc.POPRequired, Bodies: cmc.To(1)},
		"pending|1|dG9rZW4=|":      {Status: cmc.Pending, Bodies: cmc.To(1), Pend: &cmc.PendInfo{Token: []byte("token"), Time: time.Unix(2e9, 0)}},
		"partial|1,2|dG9rZW4=|":    {Status: cmc.Partial, Bodies: cmc.To(1, 2), Pend: &cmc.PendInfo{Token: []byte("token"), Time: time.Unix(2e9, 0)}},
		"failed|4294967295||Grüße": {Status: cmc.Failed, Bodies: cmc.To(4294967295), Text: "Grüße"},
	}
	for fail := cmc.BadAlg; fail <= cmc.AuthDataFail; fail++ {
		cases[fmt.Sprintf("failed|0|%s|why", fail)] = cmc.FailedWith(fail, "why", 0)
	}
	var controls cmc.Controls
	var want []string
	for text, state := range cases {
		value, err := state.Marshal()
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		controls = append(controls, cmc.NewControl(cmc.BodyPartID(len(controls)+1), cmc.OIDStatusInfoV2, value))
		want = append(want, text)
	}
	controls = append(controls, cmc.NewControl(901, cmc.OIDTransactionID, cmc.Integer(big.NewInt(4711))),
		cmc.NewControl(902, cmc.OIDSenderNonce, cmc.Octets([]byte("ours"))), cmc.NewControl(903, cmc.OIDRecipientNonce, cmc.Octets([]byte("theirs"))))
	answer := answered(t, controls)
	if !slices.Equal(answer["status"], want) {
		t.Errorf("read\n%s\nwant\n%s", strings.Join(answer["status"], "\n"), strings.Join(want, "\n"))
	}
	if answer.Get("transactionId") != "4711" || answer.Get("senderNonce") != b64([]byte("ours")) || answer.Get("recipientNonce") != b64([]byte("theirs")) {
		t.Errorf("read %v", answer)
	}
}

func TestBouncyCastleReadsOurCertificates(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	cert := certified(t, &key.PublicKey, key)
	value, err := (cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(1)}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	full := answered(t, cmc.Controls{cmc.NewControl(1, cmc.OIDStatusInfoV2, value)}, cert)
	if !slices.Contains(full["certificate"], b64(cert.Raw)) {
		t.Error("the certificate isn't in the Full PKI Response")
	}
	bag, err := cms.CertsOnly(cert)
	if err != nil {
		t.Fatal(err)
	}
	simple := bouncyCastle(t).ask(t, "pkiresponse", form("der", b64(bag)))
	if simple.Get("kind") != "simple" || !slices.Equal(simple["certificate"], []string{b64(cert.Raw)}) {
		t.Errorf("the Simple PKI Response is read as %v", simple)
	}
}

type marshaler interface{ Marshal() ([]byte, error) }

// marshal is a function that writes a value.
type marshal func() ([]byte, error)

func (m marshal) Marshal() ([]byte, error) { return m() }

// Bouncy Castle's classes read what we write, and write it again octet for octet.
func TestBouncyCastleReadsOurControls(t *testing.T) {
	t.Parallel()
	c, key := bouncyCastle(t), newKey(t)
	cert := certified(t, &key.PublicKey, key)
	id := cmc.CertID{Issuer: cert.RawIssuer, Serial: cert.SerialNumber}
	tcr, err := cmc.NewPKCS10(5, octets(t, c.request(t, "pkcs10", key, "subject", "CN=a.example.net")))
	if err != nil {
		t.Fatal(err)
	}
	sealed := octets(t, c.ask(t, "seal", form("content", b64([]byte("proof")), "type", cms.IDData, "kari", b64(cert.Raw))).Get("der"))
	template := cmc.CertTemplate{Subject: cert.RawSubject, SPKI: cert.RawSubjectPublicKeyInfo, NotAfter: time.Unix(2e9, 0)}
	states := cmc.StatusInfo{Status: cmc.Pending, Bodies: cmc.To(1, 2), Text: "later", Pend: &cmc.PendInfo{Token: []byte("t"), Time: time.Unix(2e9, 0)}}
	for class, value := range map[string]marshaler{
		"cmc.IdentityProofV2":       cmc.NewWitness([]byte(castleSecret), "device-1", tcr.Raw),
		"cmc.PopLinkWitnessV2":      cmc.NewWitness([]byte(castleSecret), "", []byte("random")),
		"cms.IssuerAndSerialNumber": id,
		"cmc.RevokeRequest":         cmc.Revocation{CertID: id, Reason: 1, Invalid: time.Unix(1.7e9, 0), Secret: []byte("s"), Comment: "stolen"},
		"cmc.GetCRL":                cmc.GetCRL{Issuer: cert.RawIssuer, Time: time.Unix(1.7e9, 0), Reasons: &asn1.BitString{Bytes: []byte{0x60}, BitLength: 3}},
		"cmc.LraPopWitness":         cmc.POPWitness{Content: 3, Requests: []cmc.BodyPartID{1, 2}},
		"cmc.ModCertTemplate":       cmc.Modification{Requests: []cmc.BodyPartID{1}, Data: []cmc.BodyPartID{4, 5}, Replace: true, Template: template},
		"cmc.PublishTrustAnchors":   cmc.TrustAnchors{Sequence: big.NewInt(7), Hash: cmc.OIDSHA256, Hashes: [][]byte{bytes.Repeat([]byte{7}, 32)}},
		"cmc.EncryptedPOP":          cmc.NewPOPChallenge(tcr, []byte("proof"), sealed),
		"cmc.DecryptedPOP":          cmc.NewPOPAnswer(tcr, []byte("proof")),
		"cmc.CMCUnsignedData":       cmc.UnsignedData{Path: []cmc.BodyPartID{1, 2}, Type: cmc.OIDSHA256, Content: []byte{4, 0}},
		"crmf.CertTemplate":         template,
		"cmc.CMCStatusInfo":         marshal(states.MarshalV1),
		"cmc.CMCStatusInfoV2":       states,
		"cmc.GetCert":               marshal(id.MarshalGetCert),
		"cmc.BodyPartList":          marshal(func() ([]byte, error) { return cmc.MarshalPath([]cmc.BodyPartID{1, 2}) }),
		"cmc.ControlsProcessed": marshal(func() ([]byte, error) {
			return cmc.MarshalProcessed([]cmc.Reference{{ID: 1}, {ID: 4, Path: []cmc.BodyPartID{4, 5}}})
		}),
		"cmc.PKIData": &cmc.PKIData{Requests: []cmc.Request{tcr}, Controls: cmc.Controls{cmc.NewControl(1, cmc.OIDRegInfo, cmc.Octets([]byte("x")))}},
	} {
		der, err := value.Marshal()
		if err != nil {
			t.Errorf("%s: %v", class, err)
			continue
		}
		if again := octets(t, c.ask(t, "again", form("class", class, "der", b64(der))).Get("der")); !bytes.Equal(again, der) {
			t.Errorf("%s: we write\n%x\nBouncy Castle\n%x", class, der, again)
		}
	}
}
