// SPDX-License-Identifier: Apache-2.0

package est_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/est"
	"github.com/caddy-est/estra/ra/wire"
)

var (
	cmcRA    = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}
	loopback = net.IPv4(127, 0, 0, 1)
)

// A server is an EST server that isn't ours: it issues by /simpleenroll what
// its own profile says, and by /fullcmc what an RA's controls say.
type server struct {
	t    testing.TB
	ca   *ratest.CA
	url  string
	own  tls.Certificate
	ra   tls.Certificate
	http *httptest.Server

	mu       sync.Mutex
	profiles map[string]ra.Order // by the key of the request
	instead  http.HandlerFunc    // for a server that behaves badly
	change   func(*reply)        // for answers that are wrong
	requests []*cmc.PKIData
	posts    int
}

// A reply is a PKIResponse before it is signed.
type reply struct {
	response     cmc.PKIResponse
	certificates []*x509.Certificate
	signer       tls.Certificate
	status       int
}

func serve(t testing.TB) *server {
	t.Helper()
	s := &server{t: t, ca: ratest.NewCA(t), profiles: map[string]ra.Order{}}
	s.own = s.ca.Intermediate.Device(t, "est.example", func(c *x509.Certificate) {
		c.ExtKeyUsage, c.UnknownExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []asn1.ObjectIdentifier{cmcRA}
		c.IPAddresses = []net.IP{loopback}
	})
	s.ra = s.registrar()
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.handle))
	s.http.TLS = &tls.Config{Certificates: []tls.Certificate{s.own}, ClientAuth: tls.RequestClientCert}
	s.http.StartTLS()
	t.Cleanup(s.http.Close)
	s.url = s.http.URL
	return s
}

func (s *server) registrar() tls.Certificate {
	return s.ca.Intermediate.Device(s.t, "ra.example", func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{cmcRA} })
}

// open gives the upstream that speaks with the server.
func (s *server) open(change ...func(*est.Config)) *est.Upstream {
	s.t.Helper()
	cfg := est.Config{
		URL: s.url, Roots: []*x509.Certificate{s.ca.Root.Certificate}, Timeout: 2 * time.Second,
		Certificate: func() (*tls.Certificate, error) { return &s.ra, nil },
	}
	for _, f := range change {
		f(&cfg)
	}
	up, err := est.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	return up
}

func full(c *est.Config) { c.FullCMC = true }

// known tells the server's own profile what is to come: an operator has written
// the same at both places.
type known struct {
	*est.Upstream
	server *server
}

func (k known) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if o.Valid() {
		k.server.mu.Lock()
		k.server.profiles[string(o.CSR().RawSPKI)] = o
		k.server.mu.Unlock()
	}
	return k.Upstream.Issue(ctx, o)
}

func (s *server) set(instead http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.instead = instead
}

func (s *server) spoil(change func(*reply)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change = change
}

func (s *server) handle(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	instead := s.instead
	if r.Method == http.MethodPost {
		s.posts++
	}
	s.mu.Unlock()
	if instead != nil && !strings.HasSuffix(r.URL.Path, "/cacerts") {
		instead(w, r)
		return
	}
	s.serve(w, r)
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	op := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	switch {
	case op == "cacerts":
		s.certsOnly(w, s.ca.Root.Certificate, s.ca.Intermediate.Certificate)
	case len(r.TLS.PeerCertificates) == 0:
		http.Error(w, "who asks?", http.StatusUnauthorized)
	case op == "simpleenroll":
		s.simple(w, r)
	case op == "fullcmc":
		s.fullCMC(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (s *server) certsOnly(w http.ResponseWriter, certs ...*x509.Certificate) {
	der, err := cms.CertsOnly(certs...)
	if err != nil {
		s.t.Error(err)
	}
	w.Header().Set("Content-Type", wire.TypeCertsOnly)
	_, _ = w.Write(wire.EncodeBody(der, true))
}

func (s *server) body(r *http.Request) []byte {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil
	}
	der, _, err := wire.DecodeBody(body)
	if err != nil {
		s.t.Error(err)
	}
	return der
}

// wanted is a certificate that is to be issued.
type wanted struct {
	subject    []byte
	extensions []csr.Extension
	begin, end time.Time
}

func (s *server) simple(w http.ResponseWriter, r *http.Request) {
	request, err := csr.Parse(s.body(r))
	if err != nil || request.CheckPOP() != nil {
		http.Error(w, "no good request", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	o, ok := s.profiles[string(request.RawSPKI)]
	s.mu.Unlock()
	if !ok {
		http.Error(w, "refused by\npolicy (7)", http.StatusForbidden)
		return
	}
	plan := o.Plan()
	ku, _ := csr.MarshalKeyUsage(plan.KeyUsage)
	eku, _ := csr.MarshalExtKeyUsage(plan.ExtKeyUsage)
	list := append(slices.Clone(request.Extensions), csr.Extension{ID: asn1.ObjectIdentifier{2, 5, 29, 15}, Critical: true, Value: ku},
		csr.Extension{ID: asn1.ObjectIdentifier{2, 5, 29, 37}, Value: eku})
	s.certsOnly(w, s.issue(request, wanted{request.RawSubject, list, o.NotBefore(), o.NotAfter().Add(-6 * time.Hour)}))
}

func (s *server) issue(request *csr.Request, w wanted) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{RawSubject: w.subject, SerialNumber: serial, NotBefore: w.begin, NotAfter: w.end, BasicConstraintsValid: true}
	for _, e := range w.extensions {
		template.ExtraExtensions = append(template.ExtraExtensions, pkix.Extension{Id: e.ID, Critical: e.Critical, Value: e.Value})
	}
	return s.ca.Intermediate.Sign(s.t, template, request.Key.Public)
}

// fullCMC issues what an RA says.
func (s *server) fullCMC(w http.ResponseWriter, r *http.Request) {
	signed, err := cms.ReadSigned(s.body(r))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	verified, err := signed.Verify(cms.FindCertificate())
	if err != nil || !bytes.Equal(verified.Signers()[0].Key.Certificate.Raw, r.TLS.PeerCertificates[0].Raw) {
		http.Error(w, "the signer isn't who asks", http.StatusForbidden)
		return
	}
	data, err := cmc.ParsePKIData(verified.Content().Bytes)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, data)
	change := s.change
	s.mu.Unlock()
	out := reply{signer: s.own, status: http.StatusOK}
	_, transaction, _, _ := data.Controls.Only(cmc.OIDTransactionID)
	_, nonce, _, _ := data.Controls.Only(cmc.OIDSenderNonce)
	out.response.Controls = cmc.Controls{
		cmc.NewControl(1, cmc.OIDTransactionID, transaction), cmc.NewControl(2, cmc.OIDRecipientNonce, nonce),
		cmc.NewControl(3, cmc.OIDSenderNonce, cmc.Octets([]byte("another nonce"))),
	}
	for _, one := range data.Requests {
		leaf, err := s.told(data, one)
		if err != nil {
			s.t.Error(err)
			return
		}
		out.certificates = append(out.certificates, leaf)
		out.tell(cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(one.ID)})
	}
	for _, one := range data.Controls.All(cmc.OIDRevokeRequest) {
		out.tell(cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(one.ID)})
	}
	if change != nil {
		change(&out)
	}
	s.send(w, out)
}

// tell adds a statusInfoV2.
func (r *reply) tell(info cmc.StatusInfo) {
	value, err := info.Marshal()
	if err != nil {
		panic(err)
	}
	id := cmc.BodyPartID(len(r.response.Controls) + 1)
	r.response.Controls = append(r.response.Controls, cmc.NewControl(id, cmc.OIDStatusInfoV2, value))
}

// told issues for one request, with what modCertTemplate changes.
func (s *server) told(data *cmc.PKIData, one cmc.Request) (*x509.Certificate, error) {
	request, err := one.CSR()
	if err != nil {
		return nil, err
	}
	if err := request.CheckPOP(); err != nil {
		return nil, err
	}
	for _, oid := range []string{cmc.OIDLraPOPWitness, cmc.OIDRAIdentityWitness} {
		if len(data.Controls.All(oid)) == 0 {
			return nil, errors.New("no " + oid)
		}
	}
	out := wanted{subject: request.RawSubject, extensions: slices.Clone(request.Extensions)}
	for _, control := range data.Controls.All(cmc.OIDModCertTemplate) {
		value, err := control.Value()
		if err != nil {
			return nil, err
		}
		m, err := cmc.ParseModification(value)
		if err != nil {
			return nil, err
		}
		if !slices.Equal(m.Data, []cmc.BodyPartID{0}) || len(m.Requests) != 1 || int(m.Requests[0]) > len(data.Requests) {
			return nil, errors.New("modCertTemplate is about something else")
		}
		if m.Requests[0] != one.ID {
			continue
		}
		var list []pkix.Extension
		if m.Template.Extensions != nil {
			if _, err := asn1.Unmarshal(m.Template.Extensions, &list); err != nil {
				return nil, err
			}
		}
		for _, e := range list {
			out.extensions = slices.DeleteFunc(out.extensions, func(have csr.Extension) bool { return have.ID.Equal(e.Id) })
			if m.Replace {
				out.extensions = append(out.extensions, csr.Extension{ID: e.Id, Critical: e.Critical, Value: e.Value})
			}
		}
		if m.Replace {
			out.begin, out.end = m.Template.NotBefore, m.Template.NotAfter
			if m.Template.Subject != nil {
				out.subject = m.Template.Subject
			}
		}
	}
	return s.issue(request, out), nil
}

func (s *server) send(w http.ResponseWriter, out reply) {
	content, err := out.response.Marshal()
	if err != nil {
		s.t.Error(err)
		return
	}
	var chain []*x509.Certificate
	for _, der := range out.signer.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			s.t.Error(err)
			return
		}
		chain = append(chain, c)
	}
	der, err := s.sign(cms.Content{Type: cms.IDPKIResponse, Bytes: content}, out.signer, append(chain, out.certificates...))
	if err != nil {
		s.t.Error(err)
		return
	}
	w.Header().Set("Content-Type", wire.TypeCMCResponse)
	w.WriteHeader(out.status)
	_, _ = w.Write(wire.EncodeBody(der, false))
}

func (s *server) sign(content cms.Content, signer tls.Certificate, certs []*x509.Certificate) ([]byte, error) {
	leaf, err := x509.ParseCertificate(signer.Certificate[0])
	if err != nil {
		return nil, err
	}
	return cms.Sign(content, certs, cms.Signer{Key: signer.PrivateKey.(crypto.Signer), ID: cms.IssuerAndSerial(leaf)})
}

// unsignedIn gives what goes along with a message.
func unsignedIn(t testing.TB, message []byte) (all []cmc.UnsignedData) {
	t.Helper()
	signed, err := cms.ReadSigned(message)
	if err != nil {
		t.Fatal(err)
	}
	verified, err := signed.Verify(cms.FindCertificate())
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range verified.Unsigned() {
		if a.Type != cmc.OIDUnsignedData {
			t.Errorf("an attribute %s", a.Type)
		}
		for _, value := range a.Values {
			u, err := cmc.ParseUnsignedData(value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, u)
		}
	}
	return all
}
