// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"io"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/wire"
)

// A cmcServer is the least that Full CMC can be asked of. It refuses names that
// begin with "bad", and what begins with "wait" is pending until it is asked for
// again; "roots-N" publishes its root with the number N. What a message proves counts by its signature, or by the password "open
// sesame" of the id "k3q7".
type cmcServer struct {
	t    *testing.T
	root ratest.Signer
	own  tls.Certificate

	mu    sync.Mutex
	waits crypto.PublicKey
}

func newCMCServer(t *testing.T, root ratest.Signer) *cmcServer {
	t.Helper()
	cmcRA := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}
	return &cmcServer{t: t, root: root, own: root.Device(t, "ra.example", func(c *x509.Certificate) {
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{cmcRA}
	})}
}

func (x *cmcServer) answer(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		x.t.Error(err)
	}
	d, err := x.open(body)
	if err != nil {
		http.Error(w, "message: "+err.Error(), http.StatusForbidden)
		return
	}
	status, response, certs := x.decide(d)
	content, err := response.Marshal()
	if err != nil {
		x.t.Error(err)
	}
	signer := cms.Signer{Key: x.own.PrivateKey.(crypto.Signer), ID: cms.IssuerAndSerial(x.own.Leaf), Time: time.Now()}
	der, err := cms.Sign(cms.Content{Type: cms.IDPKIResponse, Bytes: content}, append(certs, x.own.Leaf), signer)
	if err != nil {
		x.t.Error(err)
	}
	w.Header().Set("Content-Type", wire.TypeCMCResponse)
	w.WriteHeader(status)
	_, _ = w.Write(wire.EncodeBody(der, false))
}

func (x *cmcServer) open(body []byte) (*cmc.PKIData, error) {
	der, _, err := wire.DecodeBody(body)
	if err != nil {
		return nil, err
	}
	var verified *cms.Verified
	if signed, notSigned := cms.ReadSigned(der); notSigned == nil {
		verified, err = signed.Verify(x.findKey)
	} else {
		var message *cms.Authenticated
		if message, err = cms.ReadAuthenticated(der); err != nil {
			return nil, err
		}
		verified, err = message.Verify(func(cms.Content) ([]byte, error) { return []byte("k3q7open sesame"), nil })
	}
	if err != nil {
		return nil, err
	}
	d, err := cmc.ParsePKIData(verified.Content().Bytes)
	if err != nil {
		return nil, err
	}
	if _, value, present, err := d.Controls.Only(cmc.OIDIdentityProofV2); err != nil || present {
		witness, err := cmc.ParseWitness(value)
		if err != nil {
			return nil, err
		}
		key, err := witness.Key([]byte("open sesame"), "k3q7")
		if err != nil {
			return nil, err
		}
		return d, witness.Verify(key, d.RawRequests)
	}
	return d, nil
}

// findKey: the key of the first request signs, or a certificate does.
func (x *cmcServer) findKey(u cms.Unverified) (cms.SignerKey, error) {
	d, err := cmc.ParsePKIData(u.Content.Bytes)
	if err != nil || len(u.Signer.KeyID) == 0 {
		return cms.FindCertificate()(u)
	}
	if len(d.Requests) == 0 {
		return cms.SignerKey{Public: x.waits}, nil
	}
	request, err := d.Requests[0].CSR()
	if err != nil {
		return cms.SignerKey{}, err
	}
	return cms.SignerKey{Public: request.Key.Public}, nil
}

func (x *cmcServer) decide(d *cmc.PKIData) (int, *cmc.PKIResponse, []*x509.Certificate) {
	r := &cmc.PKIResponse{}
	add := func(oid string, value []byte) {
		r.Controls = append(r.Controls, cmc.NewControl(cmc.BodyPartID(len(r.Controls)+1), oid, value))
	}
	for back, oid := range map[string]string{cmc.OIDTransactionID: cmc.OIDTransactionID, cmc.OIDRecipientNonce: cmc.OIDSenderNonce} {
		_, value, _, err := d.Controls.Only(oid)
		if err != nil {
			x.t.Error(err)
		}
		add(back, value)
	}
	status, certs := http.StatusForbidden, []*x509.Certificate(nil)
	say := func(s cmc.StatusInfo) {
		value, err := s.Marshal()
		if err != nil {
			x.t.Error(err)
		}
		if s.Status != cmc.Failed {
			status = http.StatusOK
		}
		add(cmc.OIDStatusInfoV2, value)
	}
	published := ""
	for _, request := range d.Requests {
		asked, err := request.CSR()
		if err != nil {
			x.t.Error(err)
			continue
		}
		published = asked.Names.Subject.String()
		switch name := asked.Names.Subject.String(); {
		case strings.HasPrefix(name, "CN=bad"):
			say(cmc.FailedWith(cmc.BadRequest, "not permitted", request.ID))
		case strings.HasPrefix(name, "CN=wait"):
			x.waits = asked.Key.Public
			say(cmc.StatusInfo{Status: cmc.Pending, Bodies: cmc.To(request.ID), Pend: &cmc.PendInfo{Token: []byte("token"), Time: time.Now()}})
		default:
			certs = append(certs, hourFor(x.t, x.root, &x509.Certificate{RawSubject: asked.RawSubject}, asked.Key.Public))
			say(cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(request.ID)})
		}
	}
	if number, ok := strings.CutPrefix(published, "CN=roots-"); ok {
		n, _ := new(big.Int).SetString(number, 10)
		sum := sha256.Sum256(x.root.Certificate.Raw)
		value, err := cmc.TrustAnchors{Sequence: n, Hash: cmc.OIDSHA256, Hashes: [][]byte{sum[:]}}.Marshal()
		if err != nil {
			x.t.Error(err)
		}
		add(cmc.OIDTrustedAnchors, value)
		certs = append(certs, x.root.Certificate)
	}
	for _, c := range append(d.Controls.All(cmc.OIDRevokeRequest), d.Controls.All(cmc.OIDQueryPending)...) {
		if cmc.Name(c.Type) == "queryPending" {
			certs = append(certs, hourFor(x.t, x.root, &x509.Certificate{}, x.waits))
		} else if asked, err := cmc.ParseRevocation(c.Values[0]); err != nil || asked.Reason != 1 || asked.Comment != "stolen" {
			x.t.Errorf("%+v, %v", asked, err)
		}
		say(cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(c.ID)})
	}
	return status, r, certs
}

func TestNoCertificateTakesThePlaceOfAnotherFile(t *testing.T) {
	dir := t.TempDir()
	in := func(names ...string) []string {
		for i, name := range names {
			names[i] = filepath.Join(dir, name)
		}
		return names
	}
	for name, test := range map[string]struct {
		dir      string
		requests []string
		want     string
	}{
		"two names":            {dir, in("a.csr", "b.csr"), ""},
		"no folder is named":   {"", in("a.csr"), ""},
		"one name twice":       {dir, in("a.csr", "a.req"), "would be written over"},
		"the name of a CSR":    {dir, in("a.csr", "a.pem"), "would be written over"},
		"a folder that is not": {filepath.Join(dir, "none"), in("a.csr"), "there is no such folder"},
	} {
		files, err := certificateFiles(test.dir, test.requests)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, error %v", name, files, err)
		}
	}
}

// The words of --reason are those that the codec takes.
func TestEveryReasonIsOneOfRFC5280(t *testing.T) {
	issuer, err := csr.ParseName("CN=a")
	if err != nil {
		t.Fatal(err)
	}
	der, err := issuer.MarshalDER()
	if err != nil {
		t.Fatal(err)
	}
	for word, reason := range reasons {
		value, err := cmc.Revocation{CertID: cmc.CertID{Issuer: der, Serial: ratest.NewRoot(t, "x").Certificate.SerialNumber}, Reason: reason}.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if r, err := cmc.ParseRevocation(value); err != nil || r.Reason != reason {
			t.Errorf("%s: %+v, %v", word, r, err)
		}
	}
}
