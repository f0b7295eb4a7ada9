// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
)

// A registration authority brings requests that are not its own, one of them a
// CRMF request whose id stands where a control's would.
func TestARegistrarSaysWhatItHasVerifiedAndChanges(t *testing.T) {
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	own := newKey()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ra"}},
		&x509.Certificate{}, own.Public(), own)
	if err != nil {
		t.Fatal(err)
	}
	subject, err := csr.ParseName("CN=a.example")
	if err != nil {
		t.Fatal(err)
	}
	names := Template{Names: csr.Names{Subject: subject}}
	first, err := Request(rand.Reader, newKey(), names, "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := crmf(rand.Reader, 4, newKey(), names, "")
	if err != nil {
		t.Fatal(err)
	}
	message, err := asCertReqMsg(second)
	if err != nil {
		t.Fatal(err)
	}
	until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	ask := FullRequest{
		Registrar: true, Signer: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: own},
		Wishes: []Wish{{CSR: first, Changes: []cmc.Modification{{Replace: true, Template: cmc.CertTemplate{NotAfter: until}}}}, {Message: message}},
	}
	sealed, err := new(Client).Seal(ask)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := cms.ReadSigned(sealed.DER)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := signed.Verify(cms.FindCertificate())
	if err != nil {
		t.Fatal(err)
	}
	data, err := cmc.ParsePKIData(verified.Content().Bytes) // whose ids are unique
	if err != nil {
		t.Fatal(err)
	}
	ids := []cmc.BodyPartID{1, 4}
	if len(data.Requests) != 2 || data.Requests[0].ID != 1 || data.Requests[1].ID != 4 || !slices.Equal(data.Requests[0].PKCS10, first) || !slices.Equal(data.Requests[1].Raw, second.Raw) {
		t.Errorf("the requests are not those that were brought")
	}
	_, value, _, err := data.Controls.Only(cmc.OIDLraPOPWitness)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := cmc.ParsePOPWitness(value); err != nil || !slices.Equal(w.Requests, ids) {
		t.Errorf("lraPOPWitness is %+v: %v", w, err)
	}
	if n := len(data.Controls.All(cmc.OIDRAIdentityWitness)); n != 2 {
		t.Errorf("%d raIdentityWitness, want one for each request", n)
	}
	_, value, _, err = data.Controls.Only(cmc.OIDModCertTemplate)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := cmc.ParseModification(value); err != nil || !slices.Equal(m.Requests, ids[:1]) || !m.Template.NotAfter.Equal(until) {
		t.Errorf("modCertTemplate is %+v: %v", m, err)
	}

	ask.Signer = nil
	if _, err := new(Client).Seal(ask); err == nil || !strings.Contains(err.Error(), "signs with its certificate") {
		t.Errorf("without a certificate: %v", err)
	}
}

// asCertReqMsg gives the CertReqMsg of a crm, whose tag is another.
func asCertReqMsg(r cmc.Request) ([]byte, error) {
	request, err := r.CSR()
	if err != nil {
		return nil, err
	}
	return request.Raw, nil
}
