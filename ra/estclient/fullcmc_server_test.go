// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/wire"
)

const otpID, otp = "k3q7a2mlfw", "correct horse"

// A cmcServer is a server of Full CMC that verifies what it gets with the codecs,
// and grants it.
type cmcServer struct {
	*recorder
	t      *testing.T
	signer tls.Certificate // of its answers
	status int             // 0: 200
	linkBy string          // the first request is refused for want of this
	// edit changes what would be sent.
	edit func(*cmcReply)
	// raw is sent in its place.
	raw func(w http.ResponseWriter)

	macSecret string
	// pending is the key of a request that waits.
	pending crypto.Signer

	got []cmcGot
}

// A cmcGot is a message that was verified.
type cmcGot struct {
	data   *cmc.PKIData
	signer cms.SignerKey // nothing for a MAC
	certs  []*x509.Certificate
	tls    int
}

// A cmcReply is what will be sent.
type cmcReply struct {
	controls cmc.Controls
	certs    []*x509.Certificate // those that were issued
	signer   cms.Signer
	chain    []*x509.Certificate
	kind     string
	mac      []byte
}

// drop takes a control out of the reply.
func (r *cmcReply) drop(oid string) {
	var rest cmc.Controls
	for _, c := range r.controls {
		if c.Type.String() != oid {
			rest = append(rest, c)
		}
	}
	r.controls = rest
}

func (r *cmcReply) put(oid string, value []byte) {
	r.drop(oid)
	r.controls = append(r.controls, cmc.NewControl(cmc.BodyPartID(100+len(r.controls)), oid, value))
}

// say puts a status in the place of all others.
func (r *cmcReply) say(t *testing.T, list ...cmc.StatusInfo) {
	r.drop(cmc.OIDStatusInfoV2)
	for _, s := range list {
		r.controls = append(r.controls, cmc.NewControl(cmc.BodyPartID(200+len(r.controls)), cmc.OIDStatusInfoV2, must(t, s.Marshal)))
	}
}

func must(t *testing.T, marshal func() ([]byte, error)) []byte {
	t.Helper()
	der, err := marshal()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func withUsage(oid asn1.ObjectIdentifier) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, oid) }
}

func serveCMC(t *testing.T) *cmcServer {
	t.Helper()
	ca := newAuthority(t, "Example")
	x := &cmcServer{recorder: serve(t, ca, ca.server(nil), 0), t: t}
	x.signer, x.pending = ca.server(withUsage(cmcRA)), newKey(t)
	x.macSecret = otp
	x.answer = func(w http.ResponseWriter, req *http.Request, s seen) bool {
		if path.Base(req.URL.Path) != "fullcmc" {
			return false
		}
		if got := req.Header.Get("Content-Type"); got != wire.TypeCMCRequest {
			t.Errorf("Content-Type %q", got)
		}
		if x.raw != nil {
			x.raw(w)
			return true
		}
		if err := x.reply(w, s); err != nil {
			t.Error(err)
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
		return true
	}
	return x
}

// open verifies a message.
func (x *cmcServer) open(body []byte) (cmcGot, []byte, error) {
	der, _, err := wire.DecodeBody(body)
	if err != nil {
		return cmcGot{}, nil, err
	}
	var v *cms.Verified
	var got cmcGot
	var mac []byte
	if signed, notSigned := cms.ReadSigned(der); notSigned == nil {
		if v, err = signed.Verify(x.findKey); err != nil {
			return got, nil, err
		}
		got.signer = v.Signers()[0].Key
	} else {
		message, err := cms.ReadAuthenticated(der)
		if err != nil {
			return got, nil, err
		}
		mac = []byte(otpID + x.macSecret)
		if v, err = message.Verify(func(cms.Content) ([]byte, error) { return mac, nil }); err != nil {
			return got, nil, err
		}
	}
	if v.Content().Type != cms.IDPKIData {
		return got, nil, errors.New("no PKIData")
	}
	got.certs = v.Certificates()
	got.data, err = cmc.ParsePKIData(v.Content().Bytes)
	return got, mac, err
}

// findKey finds the key that signed: RFC 5272 section 3.2.
func (x *cmcServer) findKey(u cms.Unverified) (cms.SignerKey, error) {
	data, err := cmc.ParsePKIData(u.Content.Bytes)
	if err != nil {
		return cms.SignerKey{}, err
	}
	for _, r := range data.Requests {
		request, err := r.CSR()
		if err != nil {
			return cms.SignerKey{}, err
		}
		if e, ok := request.Extension(csr.OIDSubjectKeyIdentifier); ok && len(u.Signer.KeyID) > 0 {
			if id, err := cmc.ParseOctets(e.Value); err == nil && bytes.Equal(id, u.Signer.KeyID) {
				return cms.SignerKey{Public: request.Key.Public}, nil
			}
		}
	}
	if len(u.Signer.KeyID) > 0 && len(data.Requests) == 0 {
		return cms.SignerKey{Public: x.pending.Public()}, nil
	}
	return cms.FindCertificate()(u)
}

// reply grants what a message asks for.
func (x *cmcServer) reply(w http.ResponseWriter, s seen) error {
	got, mac, err := x.open(s.body)
	if err != nil {
		return err
	}
	got.tls = s.certificates
	x.got = append(x.got, got)
	if err := proven(got.data, mac != nil); err != nil {
		return err
	}
	chain, err := x509.ParseCertificate(x.signer.Certificate[0])
	if err != nil {
		return err
	}
	r := &cmcReply{chain: []*x509.Certificate{chain}, kind: cms.IDPKIResponse, mac: mac}
	r.signer = byCertificate(x.signer, chain)
	var ids []cmc.BodyPartID
	for _, request := range got.data.Requests {
		parsed, err := request.CSR()
		if err != nil {
			return err
		}
		if err := parsed.CheckPOP(); err != nil {
			return err
		}
		r.certs = append(r.certs, x.ca.issue(x509.Certificate{RawSubject: parsed.RawSubject}, parsed.Key.Public))
		ids = append(ids, request.ID)
	}
	for _, oid := range []string{cmc.OIDRevokeRequest, cmc.OIDQueryPending} {
		for _, c := range got.data.Controls.All(oid) {
			ids = append(ids, c.ID)
		}
	}
	if len(got.data.Controls.All(cmc.OIDQueryPending)) > 0 {
		r.certs = append(r.certs, x.ca.issue(x509.Certificate{}, x.pending.Public()))
	}
	if _, value, present, _ := got.data.Controls.Only(cmc.OIDTransactionID); present {
		r.put(cmc.OIDTransactionID, value)
	}
	_, nonce, _, err := got.data.Controls.Only(cmc.OIDSenderNonce)
	if err != nil {
		return err
	}
	r.put(cmc.OIDRecipientNonce, nonce)
	r.put(cmc.OIDSenderNonce, cmc.Octets([]byte("the server's own")))
	r.say(x.t, cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(ids...)})
	if x.edit != nil {
		x.edit(r)
	}
	x.status = x.statusOf(w, r, ids)
	return x.send(w, r)
}

// statusOf refuses the first request where it is to be linked.
func (x *cmcServer) statusOf(w http.ResponseWriter, r *cmcReply, ids []cmc.BodyPartID) int {
	if x.linkBy == "" {
		return x.status
	}
	if len(x.got) > 1 {
		return http.StatusOK
	}
	w.Header().Set(binding.HeaderRequired, x.linkBy)
	r.say(x.t, cmc.FailedWith(cmc.POPFailed, "", ids...))
	return http.StatusForbidden
}

func (x *cmcServer) send(w http.ResponseWriter, r *cmcReply) error {
	content, err := (&cmc.PKIResponse{Controls: r.controls}).Marshal()
	if err != nil {
		return err
	}
	var der []byte
	message := cms.Content{Type: r.kind, Bytes: content}
	if r.mac != nil && len(r.certs) == 0 { // which a MAC's message has no place for
		der, err = cms.Authenticate(message, cms.Password{Secret: r.mac, Iterations: 1000})
	} else {
		der, err = cms.Sign(message, append(r.chain, r.certs...), r.signer)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", wire.TypeCMCResponse)
	w.Header().Set("X-Request-Id", "abc")
	if x.status != 0 {
		w.WriteHeader(x.status)
	}
	_, err = w.Write(wire.EncodeBody(der, false))
	return err
}

func byCertificate(c tls.Certificate, leaf *x509.Certificate) cms.Signer {
	return cms.Signer{Key: c.PrivateKey.(crypto.Signer), ID: cms.IssuerAndSerial(leaf), Time: time.Now()}
}

// proven verifies the witnesses of the secret, where one is claimed.
func proven(d *cmc.PKIData, mac bool) error {
	id, present, err := d.Controls.Identification()
	if err != nil || !present {
		return err
	}
	if id != otpID {
		return errors.New("identification " + id)
	}
	if !mac {
		_, value, _, err := d.Controls.Only(cmc.OIDIdentityProofV2)
		if err != nil {
			return err
		}
		if err := holds(value, id, d.RawRequests); err != nil {
			return err
		}
	}
	for _, r := range d.Requests {
		random, _, err := d.Controls.Octets(cmc.OIDPopLinkRandom)
		if err != nil {
			return err
		}
		request, err := r.CSR()
		if err != nil {
			return err
		}
		a, ok := request.Attribute(cmc.OIDPopLinkWitnessV2)
		if !ok || len(random) < 64 {
			return errors.New("no popLinkWitnessV2, or too little that is random")
		}
		if err := holds(a.Values[0], "", random); err != nil {
			return err
		}
	}
	return nil
}

// holds verifies one witness.
func holds(value []byte, id string, message []byte) error {
	w, err := cmc.ParseWitness(value)
	if err != nil {
		return err
	}
	key, err := w.Key([]byte(otp), id)
	if err != nil {
		return err
	}
	return w.Verify(key, message)
}

// controlsOf names the controls of a message, in their order.
func controlsOf(d *cmc.PKIData) string {
	var names []string
	for _, c := range d.Controls {
		names = append(names, cmc.Name(c.Type))
	}
	return strings.Join(names, " ")
}
