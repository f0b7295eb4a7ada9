// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/wire"
)

// answeredBy has another certificate sign the answers.
func (r *cmcReply) signedBy(t *testing.T, c tls.Certificate) {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	r.signer, r.chain = byCertificate(c, leaf), []*x509.Certificate{leaf}
}

func TestFullCMCAnswersThatAreNotTaken(t *testing.T) {
	stranger := newAuthority(t, "Stranger")
	for name, test := range map[string]struct {
		edit func(*testing.T, *cmcServer, *cmcReply)
		want string
	}{
		"a signer of another CA": {func(t *testing.T, _ *cmcServer, r *cmcReply) { r.signedBy(t, stranger.server(withUsage(cmcRA))) }, "its signer CN=est server does not verify under the explicit trust anchors"},
		"a signer that is a device": {func(t *testing.T, x *cmcServer, r *cmcReply) {
			device, _ := x.certified("b.example")
			r.signedBy(t, device)
		}, "its signer CN=b.example is neither the server, nor a CA, nor has it id-kp-cmcRA"},
		"a signer whose key is for encryption": {func(t *testing.T, x *cmcServer, r *cmcReply) {
			c, _ := x.certified("b.example", withUsage(cmcRA), func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })
			r.signedBy(t, c)
		}, "has a key that may not sign messages"},
		"a signer whose certificate isn't there": {func(_ *testing.T, _ *cmcServer, r *cmcReply) { r.chain = nil }, "no certificate has the signer's serial number"},
		"another key's signature":                {func(t *testing.T, _ *cmcServer, r *cmcReply) { r.signer.Key = newKey(t) }, "the signature is wrong"},
		"another nonce": {func(_ *testing.T, _ *cmcServer, r *cmcReply) {
			r.put(cmc.OIDRecipientNonce, cmc.Octets(make([]byte, 16)))
		}, "it is the answer to another message"},
		"no nonce":            {func(_ *testing.T, _ *cmcServer, r *cmcReply) { r.drop(cmc.OIDRecipientNonce) }, "it has no recipientNonce"},
		"another transaction": {func(_ *testing.T, _ *cmcServer, r *cmcReply) { r.put(cmc.OIDTransactionID, cmc.Integer(big.NewInt(7))) }, "it belongs to another transaction"},
		"no transaction":      {func(_ *testing.T, _ *cmcServer, r *cmcReply) { r.drop(cmc.OIDTransactionID) }, "it has no transactionId"},
		"a certificate for another key": {func(t *testing.T, x *cmcServer, r *cmcReply) {
			r.certs = []*x509.Certificate{x.ca.issue(x509.Certificate{}, newKey(t).Public())}
		}, "it holds 0 certificates for the key of request 1 (CN=a.example), want one"},
		"two certificates for the key": {func(_ *testing.T, x *cmcServer, r *cmcReply) {
			r.certs = append(r.certs, x.ca.issue(x509.Certificate{}, r.certs[0].PublicKey))
		}, "it holds 2 certificates for the key"},
		"a certificate of another CA": {func(_ *testing.T, _ *cmcServer, r *cmcReply) {
			r.certs = []*x509.Certificate{stranger.issue(x509.Certificate{}, r.certs[0].PublicKey)}
		}, "the certificate for request 1 (CN=a.example): it does not verify under the explicit trust anchors"},
		"a status that isn't one": {func(_ *testing.T, _ *cmcServer, r *cmcReply) {
			r.put(cmc.OIDStatusInfoV2, cmc.Octets(nil))
		}, "statusInfo: "},
		"another content": {func(_ *testing.T, _ *cmcServer, r *cmcReply) { r.kind = cms.IDPKIData }, "it holds no PKIResponse"},
		"a MAC, where the request had none": {func(_ *testing.T, _ *cmcServer, r *cmcReply) {
			r.mac, r.certs = []byte("x"), nil
		}, "it has a MAC, and the request had none"},
	} {
		t.Run(name, func(t *testing.T) {
			x := serveCMC(t)
			x.edit = func(r *cmcReply) { test.edit(t, x, r) }
			wish := []Wish{{Key: newKey(t), Template: device(t, "a.example")}}
			done, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: wish})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "fullcmc: ") || done != nil && done.Parts[0].Enrolled != nil && len(done.Parts[0].Enrolled.Chain) > 0 {
				t.Errorf("%+v, error %v, want %q", done, err, test.want)
			}
		})
	}
}

// The signer may also be the server itself, the CA, or have id-kp-cmcCA.
func TestWhoMayAnswerFullCMC(t *testing.T) {
	for name, who := range map[string]func(*cmcServer) tls.Certificate{
		"the server": func(x *cmcServer) tls.Certificate { return x.TLS.Certificates[0] },
		"id-kp-cmcCA": func(x *cmcServer) tls.Certificate {
			c, _ := x.certified("cmc", withUsage(cmcCA))
			return c
		},
		"a CA that may sign messages": func(x *cmcServer) tls.Certificate {
			c, _ := x.certified("sub", func(c *x509.Certificate) {
				c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageDigitalSignature
			})
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := serveCMC(t)
			x.edit = func(r *cmcReply) { r.signedBy(t, who(x)) }
			if _, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: newKey(t), Template: device(t, "a")}}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFullCMCAnswersThatAreNoMessages(t *testing.T) {
	ca := newAuthority(t, "Example")
	key := newKey(t)
	ours, other := ca.issue(x509.Certificate{}, key.Public()), ca.issue(x509.Certificate{}, newKey(t).Public())
	body := func(der []byte) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", wire.TypeCMCResponse)
			_, _ = w.Write(wire.EncodeBody(der, false))
		}
	}
	nested := []byte(strings.Repeat("\x30\x80", 100) + strings.Repeat("\x00\x00", 100))
	for name, test := range map[string]struct {
		raw  func(http.ResponseWriter)
		want string
	}{
		"a page": {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") }, `type "text/html; charset=utf-8"`},
		"no base64": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", wire.TypeCMCResponse)
			_, _ = io.WriteString(w, "%")
		}, "base64"},
		"nothing":                      {func(w http.ResponseWriter) { w.Header().Set("Content-Type", wire.TypeCMCResponse) }, "empty"},
		"no CMS":                       {body(csrtest.SEQ(csrtest.INTEGER(1))), "no ContentInfo"},
		"BER that nests too deep":      {body(nested), "levels"},
		"BER that doesn't end":         {body([]byte("\x30\x80\x06\x01\x01")), "the answer is not taken"},
		"a certificate of another key": {func(w http.ResponseWriter) { sendCerts(w, other) }, "it holds a certificate for another key"},
		"more certificates than ours":  {func(w http.ResponseWriter) { sendCerts(w, ours, other) }, "it holds a certificate for another key"},
		"the CA's alone":               {func(w http.ResponseWriter) { sendCerts(w, ca.intermediate) }, "it holds 0 certificates for the key"},
	} {
		t.Run(name, func(t *testing.T) {
			x := serveCMC(t)
			x.raw = test.raw
			_, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: key, Template: device(t, "a")}}})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// A Simple PKI Response says that all was granted (RFC 5272 section 3.2). It is
// no answer to a revocation.
func TestFullCMCTakesASimpleResponse(t *testing.T) {
	x := serveCMC(t)
	key := newKey(t)
	cert := x.ca.issue(x509.Certificate{}, key.Public())
	x.raw = func(w http.ResponseWriter) { sendCerts(w, cert, x.ca.intermediate) }
	done, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: key, Template: device(t, "a")}}})
	if err != nil || done.Signer != nil || !done.Parts[0].Enrolled.Certificate.Equal(cert) {
		t.Errorf("%+v, %v", done, err)
	}
	own, leaf := x.certified("a.example")
	_, err = x.client().FullCMC(context.Background(), FullRequest{Signer: &own, Revoke: []cmc.Revocation{{CertID: cmc.CertID{Issuer: leaf.RawIssuer, Serial: leaf.SerialNumber}}}})
	if err == nil || !strings.Contains(err.Error(), "a revocation must be answered by a signed message") {
		t.Errorf("error %v", err)
	}
}

func TestFullCMCRefusalsAreTold(t *testing.T) {
	fail := func(info cmc.FailInfo, text string, ids ...cmc.BodyPartID) []cmc.StatusInfo {
		return []cmc.StatusInfo{cmc.FailedWith(info, text, ids...)}
	}
	const one = "request 1 (CN=a.example): "
	for name, test := range map[string]struct {
		status int
		say    []cmc.StatusInfo
		want   string
	}{
		"the whole":          {403, fail(cmc.BadIdentity, "no such\npassword", 0), "fullcmc: the server answered 403 Forbidden; " + one + "refused, badIdentity (who asks is not proven, or may not ask for this): no such password (request abc)"},
		"the request":        {400, fail(cmc.POPFailed, "", 1), one + "refused, popFailed (the proof of possession of the key is not good, or not linked to who asks)"},
		"a control":          {400, fail(cmc.BadRequest, "what is that?", 2), one + "the server says nothing of it; control senderNonce: refused, badRequest (it is not permitted, or was not understood): what is that?"},
		"what nobody sent":   {400, fail(cmc.BadRequest, "", 77), "body part 77: refused"},
		"a code of its own":  {400, fail(99, "", 1), one + "refused, failInfo 99"},
		"what it can't do":   {400, []cmc.StatusInfo{{Status: cmc.NoSupport, Bodies: cmc.To(1)}}, one + "not supported by this server"},
		"another proof":      {200, []cmc.StatusInfo{{Status: cmc.POPRequired, Bodies: cmc.To(1)}}, one + "another proof of possession is wanted"},
		"a status of others": {400, []cmc.StatusInfo{{Status: 9, Bodies: cmc.To(1)}}, one + "status 9"},
		"success, refused":   {500, []cmc.StatusInfo{{Status: cmc.Success, Bodies: cmc.To(1)}}, "500 Internal Server Error; " + one + "granted"},
		"failed with 200":    {200, fail(cmc.NoKeyReuse, "", 1), "200 OK; " + one + "refused, noKeyReuse (the key was used before: make a new one)"},
		"two words of one":   {200, append(fail(cmc.BadAlg, "", 1), cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(1)}), one + "refused, badAlg"},
		"granted, and more":  {200, []cmc.StatusInfo{{Status: cmc.Success, Bodies: cmc.To(1)}, cmc.FailedWith(cmc.TryLater, "", 0)}, "the message: refused, tryLater"},
		"a reason of others": {400, []cmc.StatusInfo{{Status: cmc.Failed, Bodies: cmc.To(1), Extended: &cmc.ExtendedFail{Type: []int{1, 3, 6, 1, 4, 1, 99}, Value: []byte{5, 0}}}}, one + "refused, for a reason of its own (1.3.6.1.4.1.99)"},
	} {
		t.Run(name, func(t *testing.T) {
			x := serveCMC(t)
			x.status, x.edit = test.status, func(r *cmcReply) { r.say(t, test.say...) }
			done, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{{Key: newKey(t), Template: device(t, "a.example")}}})
			refused, ok := errors.AsType[*CMCError](err)
			if !ok || refused.Status != test.status || refused.Pending() || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			if done == nil || test.status != 200 && done.Parts[0].Enrolled != nil {
				t.Errorf("%+v", done)
			}
		})
	}
}

// A server that got no further than to the signature can't give the nonce back;
// and one whose own signature isn't good is heard, but not believed.
func TestARefusalIsToldWithoutNonceAndWhoeverSigned(t *testing.T) {
	x := serveCMC(t)
	x.status = 403
	ask := FullRequest{Wishes: []Wish{{Key: newKey(t), Template: device(t, "a.example")}}}
	x.edit = func(r *cmcReply) {
		r.controls = nil
		r.say(t, cmc.FailedWith(cmc.BadMessageCheck, "", 0))
		c, _ := x.certified("b.example")
		r.signedBy(t, c)
	}
	done, err := x.client().FullCMC(context.Background(), ask)
	if err == nil || !strings.Contains(err.Error(), "badMessageCheck (the signature") || done.Unverified == nil || !strings.Contains(done.Unverified.Error(), "CN=b.example") {
		t.Errorf("%+v, error %v", done, err)
	}
	x.edit = func(r *cmcReply) { r.signer.Key = newKey(t) }
	if _, err := x.client().FullCMC(context.Background(), ask); err == nil || !strings.Contains(err.Error(), "403 Forbidden: with a message that can't be read: ") {
		t.Errorf("error %v", err)
	}
	x.raw = func(w http.ResponseWriter) { http.Error(w, "no such label", http.StatusNotFound) }
	if _, err := x.client().FullCMC(context.Background(), ask); err == nil || !strings.Contains(err.Error(), "fullcmc: the server answered 404 Not Found: no such label") {
		t.Errorf("error %v", err)
	}
	x.raw = func(w http.ResponseWriter) { w.Header().Set("Retry-After", "60"); w.WriteHeader(http.StatusAccepted) }
	_, err = x.client().FullCMC(context.Background(), ask)
	if waits, ok := errors.AsType[*StatusError](err); !ok || !waits.Pending() || waits.RetryAfter != time.Minute {
		t.Errorf("error %v", err)
	}
}

// A server may say by HTTP too that something is pending: then the message counts
// as with 200.
func TestFullCMCIsPendingWith202(t *testing.T) {
	x := serveCMC(t)
	x.status = http.StatusAccepted
	ask := FullRequest{Wishes: []Wish{{Key: newKey(t), Template: device(t, "a.example")}}}
	x.edit = func(r *cmcReply) {
		r.certs = nil
		r.say(t, cmc.StatusInfo{Status: cmc.Pending, Bodies: cmc.To(1), Pend: &cmc.PendInfo{Token: []byte("token"), Time: time.Now()}})
	}
	done, err := x.client().FullCMC(context.Background(), ask)
	if waits, ok := errors.AsType[*CMCError](err); !ok || !waits.Pending() || string(done.Parts[0].Query.Token) != "token" {
		t.Errorf("%+v, error %v", done, err)
	}
	x.edit = func(r *cmcReply) { r.drop(cmc.OIDRecipientNonce) }
	if done, err := x.client().FullCMC(context.Background(), ask); done != nil || err == nil || !strings.Contains(err.Error(), "it has no recipientNonce") {
		t.Errorf("%+v, error %v", done, err)
	}
	x.edit = func(r *cmcReply) { r.signedBy(t, newAuthority(t, "Stranger").server(withUsage(cmcRA))) }
	if done, err := x.client().FullCMC(context.Background(), ask); done != nil || err == nil || !strings.Contains(err.Error(), "does not verify under the explicit trust anchors") {
		t.Errorf("%+v, error %v", done, err)
	}
}

// Of two requests, one may be refused: the other's certificate is there.
func TestFullCMCGrantsInPart(t *testing.T) {
	x := serveCMC(t)
	x.edit = func(r *cmcReply) {
		r.certs = r.certs[1:]
		r.say(t, cmc.FailedWith(cmc.BadRequest, "not yours", 1), cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(2)})
	}
	done, err := x.client().FullCMC(context.Background(), FullRequest{Wishes: []Wish{
		{Key: newKey(t), Template: device(t, "a.example")}, {Key: newKey(t), Template: device(t, "b.example")},
	}})
	if err == nil || !strings.Contains(err.Error(), "request 1 (CN=a.example): refused") || strings.Contains(err.Error(), "request 2") {
		t.Errorf("error %v", err)
	}
	if done == nil || done.Parts[0].Enrolled != nil || done.Parts[1].Enrolled == nil {
		t.Errorf("%+v", done)
	}
}
