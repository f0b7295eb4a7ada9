// SPDX-License-Identifier: Apache-2.0

package ejbca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/ejbca/ejbcatest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// open gives the upstream that speaks with a server, for the profile of an order.
func open(t testing.TB, s *ejbcatest.Server, profile string, change ...func(*Config)) *Upstream {
	t.Helper()
	cfg := Config{
		URL: s.URL, Roots: s.Roots, TLSRoots: s.TLSRoots, CA: s.CA, EndEntityProfile: s.EndEntityProfile, CertificateProfile: profile,
		Certificate: func() (*tls.Certificate, error) { return &s.RA, nil }, Timeout: 5 * time.Second,
	}
	for _, f := range change {
		f(&cfg)
	}
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Retire)
	return u
}

// fitting asks with a certificate profile that is made for each order, as an
// operator has made one for a policy.
type fitting struct {
	*Upstream
	server *ejbcatest.Server
}

func (f fitting) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	u := &Upstream{cfg: f.cfg, client: f.client}
	if o.Valid() {
		u.cfg.CertificateProfile = f.server.Profile(o)
	}
	return u.Issue(ctx, o)
}

func TestEJBCAPassesTheSuiteOfUpstreams(t *testing.T) {
	for name, extensions := range map[string]bool{"without extensions": false, "with extensions": true} {
		t.Run(name, func(t *testing.T) {
			s := ejbcatest.Start(t)
			upstreamtest.Run(t, conforming(s, extensions))
		})
	}
}

func conforming(s *ejbcatest.Server, extensions bool) upstreamtest.Subject {
	at := func(t testing.TB, place upstreamtest.Place) ra.Upstream {
		return fitting{open(t, s, "none", func(c *Config) {
			c.URL, c.Extensions = place.URL, extensions
			if place.Timeout > 0 {
				c.Timeout = place.Timeout
			}
		}), s}
	}
	return upstreamtest.Subject{
		Open: at, Pins: s.Roots, CA: s.Fronted(),
		Refuse: func(t testing.TB) upstreamtest.Refusal {
			f, u, o := fake(t)
			failure := ejbcatest.Failures(t)["not by the end entity profile"]
			answers(f, "/endentity", failure.Status, string(failure.Body))
			return upstreamtest.Refusal{Upstream: u, Order: o, Says: "EJBCA answered"}
		},
		Defer: func(t testing.TB) (ra.Upstream, func(bool)) {
			f := ejbcatest.NewFake(t)
			f.Change(func(f *ejbcatest.Fake) { f.Approvals = true })
			return fitting{open(t, f.Server(), "none"), f.Server()}, func(grant bool) {
				f.Decide(map[bool]string{true: ejbcatest.Approved, false: ejbcatest.Rejected}[grant])
			}
		},
	}
}

func order(t testing.TB) ra.Order {
	return ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: true})
}

// fake gives a server in memory whatever the environment says, an order, and an
// upstream for it.
func fake(t testing.TB, change ...func(*Config)) (*ejbcatest.Fake, *Upstream, ra.Order) {
	t.Helper()
	f := ejbcatest.NewFake(t)
	s, o := f.Server(), order(t)
	return f, open(t, s, s.Profile(o), change...), o
}

func fails(t *testing.T, err error, kind ra.Kind, says string) *ra.Error {
	t.Helper()
	e := upstreamtest.Fails(t, err, kind)
	if !strings.Contains(e.Text(), says) {
		t.Errorf("%q, want %q in it", e.Text(), says)
	}
	return e
}

func TestACertificateWhoseAnswerIsLostIsFoundByTheEndEntity(t *testing.T) {
	for name, twice := range map[string]bool{"base64": false, "base64 of base64": true} {
		t.Run(name, func(t *testing.T) {
			f, u, o := fake(t)
			f.Change(func(f *ejbcatest.Fake) { f.Lost, f.Twice = true, twice })
			got, err := u.Issue(t.Context(), o)
			if err != nil || got.Certificate.Subject.CommonName != "device.example" || got.Ref != serial(got.Certificate) {
				t.Fatalf("%+v, %v", got, err)
			}
			if calls := f.Calls(); len(calls) != 3 || calls[2] != "POST v1/certificate/search" {
				t.Errorf("the calls were %v", calls)
			}
		})
	}
}

func TestAnOutcomeThatNobodyFindsStaysUnknown(t *testing.T) {
	f, u, o := fake(t)
	f.Change(func(f *ejbcatest.Fake) {
		f.Instead = func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/certificaterequest") {
				panic(http.ErrAbortHandler)
			}
			return false
		}
	})
	_, err := u.Issue(t.Context(), o)
	fails(t, err, ra.UpstreamTimeout, "the end entity is estra-"+o.RequestID())
}

func TestAnEndEntityThatWaitsForApprovalIsAskedForAgain(t *testing.T) {
	for state, want := range map[string]ra.Kind{
		ejbcatest.Waits: ra.Pending, ejbcatest.Rejected: ra.UpstreamRefused, ejbcatest.Expired: ra.UpstreamRefused, ejbcatest.Approved: 0,
	} {
		t.Run(state, func(t *testing.T) {
			f, u, o := fake(t)
			f.Change(func(f *ejbcatest.Fake) { f.Approvals = true })
			_, err := u.Issue(t.Context(), o)
			e := fails(t, err, ra.Pending, "EJBCA answered 202: The request has been added for approval.; it is request 1234567 there")
			name, id, ok := waitingOf(e.Ref)
			if !ok || id != 1234567 || !strings.HasPrefix(name, "estra-") {
				t.Fatalf("the reference is %q", e.Ref)
			}
			f.Decide(state)
			got, err := u.resume(t.Context(), o, name, id, requestOf(t, o))
			if want != 0 {
				if again := fails(t, err, want, "1234567"); want == ra.Pending && again.Ref != e.Ref {
					t.Errorf("the reference is %q, and was %q", again.Ref, e.Ref)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			// Asked once more, it is the same.
			again, err := u.resume(t.Context(), o, name, id, requestOf(t, o))
			if err != nil || !again.Certificate.Equal(got.Certificate) {
				t.Errorf("%v", err)
			}
		})
	}
}

func requestOf(t *testing.T, o ra.Order) string {
	t.Helper()
	block, err := requestPEM(o)
	if err != nil {
		t.Fatal(err)
	}
	return block
}

func TestWhatAnAnswerWithoutACertificateMeans(t *testing.T) {
	recorded := ejbcatest.Failures(t)
	for name, want := range map[string]struct {
		kind       ra.Kind
		credential bool
	}{
		"not authorized":                {ra.UpstreamDown, true},
		"no such CA":                    {ra.UpstreamDown, false},
		"already revoked":               {ra.UpstreamRefused, false},
		"not by the end entity profile": {ra.UpstreamRefused, false},
		"rejected":                      {ra.UpstreamRefused, false},
		"general failure":               {ra.UpstreamDown, false},
		"token offline":                 {ra.UpstreamDown, false},
	} {
		for _, at := range []string{"/endentity", "/certificaterequest"} {
			t.Run(name+" to "+at, func(t *testing.T) {
				f, u, o := fake(t)
				answers(f, at, recorded[name].Status, string(recorded[name].Body))
				_, err := u.Issue(t.Context(), o)
				e := fails(t, err, want.kind, "EJBCA answered")
				if errors.Is(err, ra.ErrCredential) != want.credential || strings.Contains(e.Public, "EJBCA") {
					t.Errorf("%+v", e)
				}
			})
		}
	}
	for name, c := range map[string]struct {
		status int
		body   string
		kind   ra.Kind
		says   string
	}{
		"no JSON":                    {201, "hello", ra.UpstreamTimeout, "isn't JSON"},
		"nothing":                    {201, "{}", ra.UpstreamTimeout, "it is no base64"},
		"a certificate that is none": {201, `{"certificate":"MAA="}`, ra.UpstreamTimeout, "can't be read"},
		"an approval":                {202, `{"info_message":"no\nlevel=info","request_id":7}`, ra.UpstreamRefused, `no\nlevel=info (request 7)`},
	} {
		t.Run(name, func(t *testing.T) {
			f, u, o := fake(t)
			answers(f, "/certificaterequest", c.status, c.body)
			_, err := u.Issue(t.Context(), o)
			fails(t, err, c.kind, c.says)
		})
	}
}

// answers makes the server answer so at a path.
func answers(f *ejbcatest.Fake, path string, status int, body string) {
	f.Change(func(f *ejbcatest.Fake) {
		f.Instead = func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, path) {
				return false
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	})
}

func TestACertificateIsRevokedWithItsReasonAndIsInTheCRL(t *testing.T) {
	for name, twice := range map[string]bool{"base64": false, "base64 of base64": true} {
		t.Run(name, func(t *testing.T) {
			f, u, o := fake(t)
			f.Change(func(f *ejbcatest.Fake) { f.Twice = twice })
			got, err := u.Issue(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // again is no error
				if err := u.Revoke(t.Context(), got.Certificate, 9); err != nil {
					t.Fatal(err)
				}
			}
			if reason := f.Revoked(got.Certificate); reason != "PRIVILEGES_WITHDRAWN" {
				t.Errorf("revoked with %q", reason)
			}
			der, err := u.CRL(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			list, err := x509.ParseRevocationList(der)
			if err != nil || len(list.RevokedCertificateEntries) != 1 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(got.Certificate.SerialNumber) != 0 {
				t.Errorf("%+v, %v", list, err)
			}
			fails(t, u.Revoke(t.Context(), got.Certificate, 7), ra.UpstreamRefused, "7 is no CRLReason")
			fails(t, u.Revoke(t.Context(), nil, 1), ra.UpstreamRefused, "no certificate")
			answers(f, "/revoke", 202, string(ejbcatest.Failures(t)["waits for approval"].Body))
			fails(t, u.Revoke(t.Context(), got.Certificate, 1), ra.UpstreamRefused, "waits for an approval there")
		})
	}
}

func TestTheCheckSaysWhatIsWrong(t *testing.T) {
	results := func(checks []ra.Check) (all []string) {
		for _, c := range checks {
			what, _, _ := strings.Cut(c.What, " 127.0.0.1:")
			all = append(all, what+" "+string(c.Result))
		}
		return all
	}
	f, u, _ := fake(t)
	if err := u.Health(t.Context()); err != nil {
		t.Error(err)
	}
	if got := results(u.Check(t.Context())); !slices.Equal(got, []string{"end entities good", "CA Estra Test CA good", "address good", "clock good"}) {
		t.Error(got)
	}
	other := open(t, f.Server(), "none", func(c *Config) { c.CA = "Nobody's" })
	if got := results(other.Check(t.Context())); got[1] != "CA Nobody's bad" {
		t.Error(got)
	}
	answers(f, "/status", 404, "")
	if got := results(u.Check(t.Context())); got[0] != "end entities bad" || u.Health(t.Context()) == nil {
		t.Error(got)
	}
	stranger := ratest.NewRoot(t, "Stranger").Device(t, "ra.example")
	u = open(t, f.Server(), "none", func(c *Config) {
		c.Certificate = func() (*tls.Certificate, error) { return &stranger, nil }
	})
	_, err := u.CACerts(t.Context())
	fails(t, err, ra.UpstreamDown, "not authorized")
	if !errors.Is(err, ra.ErrCredential) {
		t.Error(err)
	}
	u = open(t, f.Server(), "none", func(c *Config) {
		c.Certificate = func() (*tls.Certificate, error) { return nil, errors.New("not yet") }
	})
	_, err = u.CACerts(t.Context())
	fails(t, err, ra.UpstreamDown, "EJBCA wants our RA certificate: not yet")
}

func TestAConfigurationThatCantWorkIsRefused(t *testing.T) {
	whole := func() Config {
		return Config{
			URL: "https://ejbca.example", Roots: []*x509.Certificate{{}}, CA: "CA", CertificateProfile: "c", EndEntityProfile: "e",
			Certificate: func() (*tls.Certificate, error) { return nil, nil },
		}
	}
	for want, change := range map[string]func(*Config){
		"isn't an https URL":             func(c *Config) { c.URL = "http://ejbca.example" },
		"no root certificate":            func(c *Config) { c.Roots = nil },
		"no RA certificate":              func(c *Config) { c.Certificate = nil },
		"no CA is named":                 func(c *Config) { c.CA = "" },
		"no certificate profile is name": func(c *Config) { c.CertificateProfile = "" },
		"no end entity profile is named": func(c *Config) { c.EndEntityProfile = "" },
		"timeout -1s":                    func(c *Config) { c.Timeout = -time.Second },
	} {
		cfg := whole()
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A CA of the same name may have been made again, with another subject.
func TestTheChainIsThatOfTheCAWhichHasTheNameNow(t *testing.T) {
	f, u, _ := fake(t)
	for range 2 {
		if _, err := u.CACerts(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"GET v1/ca", "GET v1/ca/CN=Test Issuing CA/certificate/download"}
	if got := f.Calls(); !slices.Equal(got, slices.Concat(want, want)) {
		t.Errorf("the calls were %q", got)
	}
}

func BenchmarkOverhead(b *testing.B) {
	s := ejbcatest.Start(b)
	subject := conforming(s, false)
	profile := s.Profile(order(b))
	subject.Open = func(t testing.TB, place upstreamtest.Place) ra.Upstream {
		return open(t, s, profile, func(c *Config) { c.URL = place.URL })
	}
	upstreamtest.Overhead(b, subject)
}
