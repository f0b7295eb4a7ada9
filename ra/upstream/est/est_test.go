// SPDX-License-Identifier: Apache-2.0

package est_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/est"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

func TestSimpleEnrollPassesTheSuiteOfUpstreams(t *testing.T) {
	upstreamtest.Run(t, subject(t, func(*est.Config) {}))
}

func TestFullCMCPassesTheSuiteOfUpstreams(t *testing.T) {
	upstreamtest.Run(t, subject(t, full))
}

func order(t testing.TB) ra.Order {
	return ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: true})
}

func fails(t *testing.T, err error, want ra.Kind, says string) *ra.Error {
	t.Helper()
	var e *ra.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v, want %v", err, want)
	}
	if e.Kind != want || !strings.Contains(e.Text(), says) {
		t.Errorf("%v: %s, want %v: … %s", e.Kind, e.Text(), want, says)
	}
	if strings.Contains(e.Public, "EST server") {
		t.Errorf("the client would read %q", e.Public)
	}
	return e
}

func answers(status int, contentType, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func TestAnswersBecomeKinds(t *testing.T) {
	const pkcs7 = "application/pkcs7-mime"
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		kind    ra.Kind
		retry   time.Duration
		says    string
	}{
		"400 is about the request":              {answers(400, "text/plain", "bad\x1b[1mCSR"), ra.UpstreamRefused, 0, `answered 400: bad\x1b[1mCSR`},
		"403 is the policy's":                   {answers(403, "text/plain", "refused by policy (abc)"), ra.UpstreamRefused, 0, "answered 403: refused by policy (abc)"},
		"404 is a label that isn't there":       {answers(404, "text/plain", "no such label"), ra.UpstreamDown, 30 * time.Second, "no such label"},
		"202 is a decision that comes later":    {answers(202, "", "", "Retry-After", "90"), ra.Pending, 90 * time.Second, "decides later"},
		"202 for days is an hour to a device":   {answers(202, "", "", "Retry-After", "864000"), ra.Pending, time.Hour, "decides later"},
		"202 until a date":                      {answers(202, "", "", "Retry-After", time.Now().Add(10*time.Hour).UTC().Format(http.TimeFormat)), ra.Pending, time.Hour, "decides later"},
		"a redirect isn't followed":             {answers(307, "", "", "Location", "https://other.example/"), ra.UpstreamDown, 30 * time.Second, "sends us to https://other.example/"},
		"204 is no answer":                      {answers(204, "", ""), ra.UpstreamDown, 30 * time.Second, "204"},
		"garbage":                               {answers(200, pkcs7, "!!!"), ra.UpstreamTimeout, 0, "says that it issued, but with an answer"},
		"base64 of garbage":                     {answers(200, pkcs7, "AAAAAAAA"), ra.UpstreamTimeout, 0, "says that it issued"},
		"another type":                          {answers(200, "text/html", "<p>"), ra.UpstreamTimeout, 0, "text/html"},
		"a failure with a CMC type and no CMC":  {answers(403, pkcs7, "AAAA"), ra.UpstreamRefused, 0, "403"},
		"a failure that says it is CMC garbage": {answers(500, pkcs7, "!"), ra.UpstreamDown, 30 * time.Second, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			s.set(c.handler)
			for _, mode := range []func(*est.Config){func(*est.Config) {}, full} {
				up := s.open(mode, func(c *est.Config) { c.Timeout = 500 * time.Millisecond })
				_, err := up.Issue(t.Context(), order(t))
				if e := fails(t, err, c.kind, c.says); e.RetryAfter != c.retry {
					t.Errorf("Retry-After is %s, want %s", e.RetryAfter, c.retry)
				}
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.posts != 2 {
				t.Errorf("%d requests were sent, want one by each operation", s.posts)
			}
		})
	}
}

func TestServersAndClientsThatDoNotVerify(t *testing.T) {
	s := serve(t)
	t.Run("another root", func(t *testing.T) {
		up := s.open(func(c *est.Config) { c.Roots = []*x509.Certificate{ratest.NewRoot(t, "Other").Certificate} })
		_, err := up.Issue(t.Context(), order(t))
		fails(t, err, ra.UpstreamDown, "does not verify")
		_, err = up.CACerts(t.Context())
		fails(t, err, ra.UpstreamDown, "does not verify")
	})
	t.Run("a root for TLS alone", func(t *testing.T) {
		pool := x509.NewCertPool()
		pool.AddCert(s.ca.Root.Certificate)
		up := s.open(func(c *est.Config) {
			c.Roots, c.TLSRoots = []*x509.Certificate{ratest.NewRoot(t, "Other").Certificate}, pool
		})
		if _, err := up.CACerts(t.Context()); err != nil {
			t.Error(err)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		up := s.open(func(c *est.Config) { c.URL = "https://127.0.0.1:1" })
		_, err := up.Issue(t.Context(), order(t))
		fails(t, err, ra.UpstreamDown, "no connection")
	})
	t.Run("no RA certificate yet", func(t *testing.T) {
		up := s.open(func(c *est.Config) {
			c.Certificate = func() (*tls.Certificate, error) { return nil, errors.New("it is being obtained") }
		})
		_, err := up.Issue(t.Context(), order(t))
		fails(t, err, ra.UpstreamDown, "it is being obtained")
		if _, err := up.CACerts(t.Context()); err != nil {
			t.Errorf("/cacerts needs none: %v", err)
		}
	})
	t.Run("a server that refuses our certificate in the handshake", func(t *testing.T) {
		strict := serve(t)
		strict.http.TLS.ClientAuth = tls.RequireAndVerifyClientCert
		strict.http.TLS.ClientCAs = x509.NewCertPool()
		up := strict.open()
		_, err := up.Issue(t.Context(), order(t))
		if e := fails(t, err, ra.UpstreamDown, "refuses our TLS client certificate"); !errors.Is(e, ra.ErrCredential) {
			t.Error("the readiness doesn't know that it is the credential")
		}
	})
}

// A renewed certificate is shown from the next order on.
func TestARenewedRACertificateIsShown(t *testing.T) {
	s := serve(t)
	shown := s.ra
	up := s.open(full, func(c *est.Config) { c.Certificate = func() (*tls.Certificate, error) { return &shown, nil } })
	var seen []*big.Int
	s.set(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.TLS.PeerCertificates[0].SerialNumber)
		w.WriteHeader(http.StatusForbidden)
	})
	for range 2 {
		_, err := up.Issue(t.Context(), order(t))
		fails(t, err, ra.UpstreamRefused, "403")
	}
	shown = s.registrar()
	_, err := up.Issue(t.Context(), order(t))
	fails(t, err, ra.UpstreamRefused, "403")
	if len(seen) != 3 || seen[0].Cmp(seen[1]) != 0 || seen[2].Cmp(shown.Leaf.SerialNumber) != 0 {
		t.Errorf("the server saw %v", seen)
	}
}

func TestSimpleEnrollSaysWhatItCannotTell(t *testing.T) {
	s := serve(t)
	up := s.open()
	_, err := up.Issue(t.Context(), upstreamtest.Rewritten(t, s.open(full)))
	fails(t, err, ra.UpstreamRefused, "rewritten the names")
	if s.posts != 0 {
		t.Error("the server was asked")
	}
	err = up.Revoke(t.Context(), s.own.Leaf, 4)
	fails(t, err, ra.UpstreamRefused, "/fullcmc alone")
}

// The request stands in the message as the device signed it, and beside it is
// what differs, no more.
func TestFullCMCSaysWhatDiffersAndWhatWasChecked(t *testing.T) {
	s := serve(t)
	up := s.open(full)
	o := upstreamtest.Rewritten(t, up)
	upstreamtest.Issue(t, up, o)
	data := s.requests[0]
	if len(data.Requests) != 1 || !slices.Equal(data.Requests[0].PKCS10, o.CSR().Raw) {
		t.Error("the request isn't the device's own")
	}
	id := data.Requests[0].ID
	_, value, _, err := data.Controls.Only(cmc.OIDLraPOPWitness)
	if err != nil {
		t.Fatal(err)
	}
	if w, err := cmc.ParsePOPWitness(value); err != nil || w.Content != 0 || !slices.Equal(w.Requests, []cmc.BodyPartID{id}) {
		t.Errorf("lraPOPWitness is %+v: %v", w, err)
	}
	_, value, _, err = data.Controls.Only(cmc.OIDRAIdentityWitness)
	if err != nil {
		t.Fatal(err)
	}
	if path, err := cmc.ParsePath(value); err != nil || !slices.Equal(path, []cmc.BodyPartID{id}) {
		t.Errorf("raIdentityWitness is %v: %v", path, err)
	}
	if n := len(data.Controls.All(cmc.OIDModCertTemplate)); n != 1 {
		t.Errorf("%d modCertTemplate, want one: nothing was taken away", n)
	}
}

// What the policy has dropped is taken away at the server, too.
func TestFullCMCTakesAwayWhatThePolicyDropped(t *testing.T) {
	s := serve(t)
	up := s.open(full)
	const dropped = "1.3.6.1.4.1.311.20.2"
	o := ratest.Order(t, ratest.Case{
		Policy: strings.Replace(ratest.Permissive, "    usage:", "    extensions: {ignore: [\""+dropped+"\"]}\n    usage:", 1), Now: time.Now(), OwnSerials: true,
		CSR: csrtest.New(t, csrtest.Subject(csrtest.CN("device.example")), csrtest.Extension(dropped, false, csrtest.UTF8("x"))),
	})
	leaf := upstreamtest.Issue(t, up, o)
	for _, e := range leaf.Extensions {
		if e.Id.String() == dropped {
			t.Error("it is in the certificate")
		}
	}
}

func TestAnswersOfFullCMCThatAreNotTaken(t *testing.T) {
	stranger := ratest.NewRoot(t, "Other").Device(t, "ra.example", func(c *x509.Certificate) { c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, cmcRA) })
	octets := func(oid string) func(*reply) {
		return func(r *reply) {
			for i, c := range r.response.Controls {
				if c.Type.String() == oid {
					r.response.Controls[i] = cmc.NewControl(c.ID, oid, cmc.Octets([]byte("another")))
				}
			}
		}
	}
	without := func(oid string) func(*reply) {
		return func(r *reply) {
			r.response.Controls = slices.DeleteFunc(r.response.Controls, func(c cmc.Control) bool { return c.Type.String() == oid })
		}
	}
	fail := func(status int, info cmc.StatusInfo) func(*reply) {
		return func(r *reply) {
			r.status, r.certificates = status, nil
			without(cmc.OIDStatusInfoV2)(r)
			r.tell(info)
		}
	}
	s := serve(t)
	device := s.ca.Intermediate.Device(t, "device.example")
	for name, c := range map[string]struct {
		change func(*reply)
		kind   ra.Kind
		says   string
	}{
		"another nonce":                    {octets(cmc.OIDRecipientNonce), ra.UpstreamTimeout, "recipientNonce"},
		"no nonce":                         {without(cmc.OIDRecipientNonce), ra.UpstreamTimeout, "recipientNonce"},
		"another transaction":              {octets(cmc.OIDTransactionID), ra.UpstreamTimeout, "transactionId"},
		"no transaction":                   {without(cmc.OIDTransactionID), ra.UpstreamTimeout, "transactionId"},
		"a stranger's signature":           {func(r *reply) { r.signer = stranger }, ra.UpstreamTimeout, "does not verify under the explicit trust anchors"},
		"a device's signature":             {func(r *reply) { r.signer = device }, ra.UpstreamTimeout, "neither the server, nor a CA"},
		"no certificate":                   {func(r *reply) { r.certificates = nil }, ra.UpstreamTimeout, "0 certificates for the key of request 1"},
		"badRequest":                       {fail(403, cmc.FailedWith(cmc.BadRequest, "refused by policy (r-7)", 1)), ra.UpstreamRefused, "answered 403: request 1 (CN=device.example): refused, badRequest (it is not permitted, or was not understood): refused by policy (r-7)"},
		"badRequest with status 200":       {fail(200, cmc.FailedWith(cmc.UnsupportedExt, "", 1)), ra.UpstreamRefused, "refused, unsupportedExt"},
		"internalCAError":                  {fail(502, cmc.FailedWith(cmc.InternalCAError, "", 1)), ra.UpstreamRefused, "internalCAError"},
		"tryLater":                         {fail(503, cmc.FailedWith(cmc.TryLater, "", 1)), ra.UpstreamDown, "tryLater"},
		"noSupport":                        {fail(400, cmc.StatusInfo{Status: cmc.NoSupport, Bodies: cmc.To(1)}), ra.UpstreamRefused, "not supported"},
		"confirmRequired":                  {fail(200, cmc.StatusInfo{Status: cmc.ConfirmRequired, Bodies: cmc.To(1)}), ra.UpstreamRefused, "to be confirmed"},
		"pending":                          {fail(200, cmc.StatusInfo{Status: cmc.Pending, Bodies: cmc.To(1), Pend: &cmc.PendInfo{Token: []byte{1}, Time: time.Now().Add(time.Minute)}}), ra.Pending, "decides later"},
		"a failure that a stranger signed": {func(r *reply) { fail(403, cmc.FailedWith(cmc.BadRequest, "x", 1))(r); r.signer = stranger }, ra.UpstreamRefused, "refused, badRequest"},
		"a failure without a failed part":  {func(r *reply) { r.status = 500 }, ra.UpstreamDown, "without a failure"},
	} {
		t.Run(name, func(t *testing.T) {
			s.spoil(c.change)
			_, err := s.open(full).Issue(t.Context(), order(t))
			e := fails(t, err, c.kind, c.says)
			if c.kind == ra.Pending && (e.Ref != "" && !strings.HasPrefix(e.Ref, "cmc 01 ") || e.RetryAfter < 50*time.Second || e.RetryAfter > time.Minute) {
				t.Errorf("Retry-After is %s", e.RetryAfter)
			}
		})
	}
}

// A Simple PKI Response has no place for our nonce: TLS vouches for it, and the
// certificate must be for the key.
func TestASimplePKIResponseIsHeldToTheKey(t *testing.T) {
	s := serve(t)
	up := s.open(full)
	o := order(t)
	leaf := upstreamtest.Issue(t, up, o)
	s.set(func(w http.ResponseWriter, _ *http.Request) { s.certsOnly(w, leaf) })
	if issued, err := up.Issue(t.Context(), o); err != nil || !issued.Certificate.Equal(leaf) {
		t.Errorf("%v", err)
	}
	other := csrtest.New(t, csrtest.Signer(ratest.NewKey(t)), csrtest.Subject(csrtest.CN("device.example")))
	_, err := up.Issue(t.Context(), ratest.Order(t, ratest.Case{CSR: other, Now: time.Now(), OwnSerials: true}))
	fails(t, err, ra.UpstreamTimeout, "for another key")
	fails(t, up.Revoke(t.Context(), leaf, 4), ra.UpstreamTimeout, "certificates alone")
}

func TestRevokeAsksByFullCMC(t *testing.T) {
	s := serve(t)
	up := s.open(full)
	leaf := upstreamtest.Issue(t, up, order(t))
	if err := up.Revoke(t.Context(), leaf, 4); err != nil {
		t.Fatal(err)
	}
	data := s.requests[1]
	_, value, _, err := data.Controls.Only(cmc.OIDRevokeRequest)
	if err != nil {
		t.Fatal(err)
	}
	asked, err := cmc.ParseRevocation(value)
	if err != nil || asked.Serial.Cmp(leaf.SerialNumber) != 0 || asked.Reason != 4 || !slices.Equal(asked.Issuer, leaf.RawIssuer) {
		t.Errorf("it asks for %+v: %v", asked, err)
	}
	s.spoil(func(r *reply) { r.status = 403; r.tell(cmc.FailedWith(cmc.BadCertID, "", 7)) })
	fails(t, up.Revoke(t.Context(), leaf, 4), ra.UpstreamRefused, "badCertId")
	fails(t, up.Revoke(t.Context(), leaf, 400), ra.UpstreamRefused, "400 is no CRLReason")
}

func TestConfigurationsThatCannotWork(t *testing.T) {
	s := serve(t)
	for name, c := range map[string]struct {
		change func(*est.Config)
		says   string
	}{
		"no address":         {func(c *est.Config) { c.URL = "" }, "isn't an https URL"},
		"a path":             {func(c *est.Config) { c.URL += "/.well-known/est" }, "more than a host"},
		"an operation":       {func(c *est.Config) { c.Label = "fullcmc" }, "name of an operation"},
		"a label with slash": {func(c *est.Config) { c.Label = "a/b" }, "only letters"},
		"no root":            {func(c *est.Config) { c.Roots = nil }, "no root"},
		"no certificate":     {func(c *est.Config) { c.Certificate = nil }, "no RA certificate"},
		"a negative time":    {func(c *est.Config) { c.Timeout = -1 }, "negative"},
		"a negative excuse":  {func(c *est.Config) { c.Backdate = -1 }, "negative"},
		"a negative wait":    {func(c *est.Config) { c.FullCMC, c.Batch = true, -1 }, "negative"},
		"a batch of no CMC":  {func(c *est.Config) { c.Batch = 1 }, "`cmc`"},
		"no connections":     {func(c *est.Config) { c.MaxConns = -1 }, "make no sense"},
	} {
		cfg := est.Config{
			URL: s.url, Roots: []*x509.Certificate{s.ca.Root.Certificate},
			Certificate: func() (*tls.Certificate, error) { return &s.ra, nil },
		}
		c.change(&cfg)
		if _, err := est.New(cfg); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}
