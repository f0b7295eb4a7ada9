// SPDX-License-Identifier: Apache-2.0

package anchor_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/ocsp"
	"github.com/caddy-est/estra/ra/ratest"
)

// place is an anchor.Place that a test fills.
type place struct {
	mu   sync.Mutex
	der  []byte
	err  error
	ours bool
}

func (p *place) Read(context.Context) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.der, p.err
}
func (p *place) Took()                {}
func (p *place) Ours() bool           { return p.ours }
func (p *place) Every() time.Duration { return 10 * time.Minute }

func (p *place) set(der []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.der, p.err = der, err
}

// list is a CRL, fresh for an hour.
func list(t testing.TB, s ratest.Signer, number int64, serials ...int64) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
	for _, n := range serials {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: now.Add(-time.Hour)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, s.Certificate, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// answers is an OCSP responder. A serial number that isn't in it is unknown.
type answers struct {
	t      testing.TB
	issuer ratest.Signer
	signer ratest.Signer // zero: the issuer

	mu     sync.Mutex
	status map[int64]int
	fail   int // an HTTP status
	last   time.Time
	next   time.Time
	asked  int
}

func (a *answers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != ocsp.RequestType {
		a.t.Errorf("%s %s: %v", r.Method, r.Header.Get("Content-Type"), err)
	}
	if a.fail != 0 {
		w.WriteHeader(a.fail)
		return
	}
	request, err := xocsp.ParseRequest(body)
	if err != nil {
		a.t.Error(err)
		return
	}
	status, ok := a.status[request.SerialNumber.Int64()]
	if !ok {
		status = xocsp.Unknown
	}
	made := xocsp.Response{Status: status, SerialNumber: request.SerialNumber, ThisUpdate: a.last, NextUpdate: a.next, RevokedAt: a.last}
	signer := a.issuer
	if a.signer.Certificate != nil {
		signer, made.Certificate = a.signer, a.signer.Certificate
	}
	der, err := xocsp.CreateResponse(a.issuer.Certificate, signer.Certificate, made, signer.Key)
	if err != nil {
		a.t.Error(err)
		return
	}
	w.Header().Set("Content-Type", ocsp.AnswerType)
	_, _ = w.Write(der)
}

func (a *answers) change(f func(*answers)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(a)
}

func (a *answers) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// respond starts a responder of an issuer.
func respond(t testing.TB, issuer ratest.Signer, status map[int64]int) (*answers, *anchor.Responder) {
	t.Helper()
	a := &answers{t: t, issuer: issuer, status: status, last: now.Add(-time.Minute), next: now.Add(time.Hour)}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	return a, &anchor.Responder{URL: server.URL, Client: server.Client()}
}

func serial(n int64) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.SerialNumber = big.NewInt(n) }
}

func (w world) lists(ders ...[]byte) []*anchor.List {
	var all []*anchor.List
	for _, der := range ders {
		all = append(all, w.at(&place{der: der}))
	}
	return all
}

// at is a list under the root: of a CA below it only the client has the
// certificate.
func (w world) at(p anchor.Place) *anchor.List {
	return &anchor.List{Name: "x.crl", Place: p, Issuers: func(context.Context) []*x509.Certificate {
		return []*x509.Certificate{w.root.Certificate}
	}}
}

// world is a chain of three: the root is the anchor.
type world struct {
	root, issuing ratest.Signer
	leaf          *x509.Certificate // serial number 7
	ca            int64
}

func newWorld(t testing.TB) world {
	t.Helper()
	w := world{root: ratest.NewRoot(t, "Root"), ca: 99}
	key := ratest.NewKey(t)
	template := *w.root.Sub(t, "Issuing CA").Certificate
	template.SerialNumber = big.NewInt(w.ca)
	w.issuing = ratest.Signer{Key: key, Certificate: w.root.Sign(t, &template, key.Public())}
	w.leaf = w.issuing.Device(t, "device.example", serial(7)).Leaf
	return w
}

// verify presents the chain, and says what came of it in one word.
func (w world) verify(t testing.TB, s *anchor.Sources, at time.Time) (string, anchor.Result) {
	t.Helper()
	set := &anchor.Set{Anchors: []anchor.Anchor{{
		Name: "a", Source: anchor.File([]*x509.Certificate{w.root.Certificate}), Revocation: s,
	}}}
	got := set.Verify(t.Context(), []*x509.Certificate{w.leaf, w.issuing.Certificate}, at)
	switch {
	case len(got.Names) == 1:
		return "vouched", got
	case len(got.Unavailable) == 1:
		return "unavailable", got
	}
	return "refused", got
}

// Client certificates whose revocation nobody checked: the default fails
// closed where a source is configured, and conflicting answers fail.
func TestThreat_AClientCertificateIsCheckedForRevocation(t *testing.T) {
	w := newWorld(t)
	other := ratest.NewRoot(t, "Other CA")
	good, bad := list(t, w.issuing, 1), list(t, w.issuing, 1, 7)
	rootGood, rootBad := list(t, w.root, 1), list(t, w.root, 1, w.ca)
	says := func(status int) *anchor.Responder {
		_, r := respond(t, w.issuing, map[int64]int{7: status})
		return r
	}
	down := func() *anchor.Responder {
		a, r := respond(t, w.issuing, nil)
		a.fail = http.StatusInternalServerError
		return r
	}
	by := func(r ratest.Signer) *anchor.Responder {
		a, made := respond(t, w.issuing, map[int64]int{7: xocsp.Good})
		a.signer = r
		return made
	}
	delegate := w.issuing.Device(t, "responder", serial(40), usages(x509.ExtKeyUsageOCSPSigning))
	delegated := ratest.Signer{Certificate: delegate.Leaf, Key: delegate.PrivateKey.(crypto.Signer)}
	failing := func(ders ...[]byte) []*anchor.List {
		return append(w.lists(ders...), w.at(&place{err: errors.New("connection refused")}))
	}
	for name, test := range map[string]struct {
		lists     []*anchor.List
		responder *anchor.Responder
		require   string
		prefer    string
		reason    string // with require
	}{
		"no source at all":                              {require: "refused", prefer: "vouched", reason: "no list is of its issuer"},
		"lists: both good":                              {lists: w.lists(good, rootGood), require: "vouched", prefer: "vouched"},
		"lists: the leaf is revoked":                    {lists: w.lists(bad, rootGood), require: "refused", prefer: "refused", reason: "serial 07"},
		"lists: the CA is revoked":                      {lists: w.lists(good, rootBad), require: "refused", prefer: "refused", reason: "CN=Issuing CA"},
		"lists: the CA is revoked, and none of its own": {lists: w.lists(rootBad), require: "refused", prefer: "refused", reason: "CN=Issuing CA"},
		"lists: none of the leaf's issuer":              {lists: w.lists(rootGood), require: "refused", prefer: "vouched", reason: "no list is of its issuer"},
		"lists: none of the CA's issuer":                {lists: w.lists(good), require: "refused", prefer: "vouched", reason: `the CA certificate "CN=Issuing CA": no list`},
		"lists: none of either issuer":                  {lists: w.lists(list(t, other, 1)), require: "refused", prefer: "vouched", reason: "no list is of its issuer"},
		"lists: two of one issuer, one revokes":         {lists: w.lists(good, bad, rootGood), require: "refused", prefer: "refused", reason: "serial 07"},
		"lists: one can't be had":                       {lists: failing(rootGood), require: "unavailable", prefer: "vouched", reason: "connection refused"},
		"lists: another issuer's can't be had":          {lists: failing(good, rootGood), require: "vouched", prefer: "vouched"},

		"OCSP: good, and the CA by list": {lists: w.lists(rootGood), responder: says(xocsp.Good), require: "vouched", prefer: "vouched"},
		"OCSP: revoked":                  {lists: w.lists(rootGood), responder: says(xocsp.Revoked), require: "refused", prefer: "refused", reason: "serial 07"},
		"OCSP: unknown":                  {lists: w.lists(rootGood), responder: says(xocsp.Unknown), require: "refused", prefer: "vouched", reason: "doesn't know"},
		"OCSP: down":                     {lists: w.lists(rootGood), responder: down(), require: "unavailable", prefer: "vouched", reason: "status 500"},
		"OCSP: good, and nobody answers for the CA":     {responder: says(xocsp.Good), require: "unavailable", prefer: "vouched", reason: `the CA certificate "CN=Issuing CA": ocsp`},
		"OCSP: good, by a responder of the issuer":      {lists: w.lists(rootGood), responder: by(delegated), require: "vouched", prefer: "vouched"},
		"OCSP: good, by one that a list has revoked":    {lists: w.lists(rootGood, list(t, w.issuing, 1, 40)), responder: by(delegated), require: "unavailable", prefer: "vouched", reason: "responder's certificate (serial 28) is revoked"},
		"OCSP: good, by one that nobody has authorized": {lists: w.lists(rootGood), responder: by(other), require: "unavailable", prefer: "vouched", reason: "isn't authorized"},

		"both: good":                        {lists: w.lists(good, rootGood), responder: says(xocsp.Good), require: "vouched", prefer: "vouched"},
		"both: list good, OCSP revoked":     {lists: w.lists(good, rootGood), responder: says(xocsp.Revoked), require: "refused", prefer: "refused", reason: "serial 07"},
		"both: list revoked, OCSP good":     {lists: w.lists(bad, rootGood), responder: says(xocsp.Good), require: "refused", prefer: "refused", reason: "serial 07"},
		"both: list good, OCSP unknown":     {lists: w.lists(good, rootGood), responder: says(xocsp.Unknown), require: "refused", prefer: "vouched", reason: "doesn't know"},
		"both: list good, OCSP silent":      {lists: w.lists(good, rootGood), responder: down(), require: "unavailable", prefer: "vouched", reason: "status 500"},
		"both: list silent, OCSP good":      {lists: failing(rootGood), responder: says(xocsp.Good), require: "unavailable", prefer: "vouched", reason: "connection refused"},
		"both: list revoked, OCSP silent":   {lists: w.lists(bad, rootGood), responder: down(), require: "refused", prefer: "refused", reason: "serial 07"},
		"both: list silent, OCSP revoked":   {lists: failing(rootGood), responder: says(xocsp.Revoked), require: "refused", prefer: "refused", reason: "serial 07"},
		"both: list forged, OCSP good":      {lists: w.lists(list(t, ratest.NewRoot(t, "Issuing CA"), 1), rootGood), responder: says(xocsp.Good), require: "unavailable", prefer: "vouched", reason: "signature of the list"},
		"both: list and OCSP can't be read": {lists: w.lists([]byte("no list"), rootGood), responder: down(), require: "unavailable", prefer: "vouched", reason: "crl"},
	} {
		t.Run(name, func(t *testing.T) {
			for want, s := range map[string]*anchor.Sources{
				"require " + test.require: {Lists: test.lists, Responder: test.responder},
				"prefer " + test.prefer:   {Lists: test.lists, Responder: test.responder, Prefer: true},
			} {
				mode, want, _ := strings.Cut(want, " ")
				got, result := w.verify(t, s, now)
				if got != want {
					t.Errorf("%s: %s, want %s: %q", mode, got, want, result.Reasons)
				}
				// What counts without an answer says so, and why.
				silent := mode == "prefer" && test.prefer == "vouched" && test.require != "vouched"
				if err := result.Unanswered["a"]; (err != nil) != silent || silent && !strings.Contains(err.Error(), test.reason) {
					t.Errorf("%s: unanswered %v, want %q", mode, result.Unanswered, test.reason)
				}
				if mode == "require" && test.reason != "" && (len(result.Reasons) != 1 || !strings.Contains(result.Reasons[0], test.reason)) {
					t.Errorf("reasons %q, want %q", result.Reasons, test.reason)
				}
			}
		})
	}
}

func TestAnIntermediateThatIsAnAnchorItselfNeedsNoAnswer(t *testing.T) {
	w := newWorld(t)
	set := &anchor.Set{Anchors: []anchor.Anchor{{
		Name: "a", Source: anchor.File([]*x509.Certificate{w.root.Certificate, w.issuing.Certificate}),
		Revocation: &anchor.Sources{Lists: w.lists(list(t, w.issuing, 1))},
	}}}
	if got := set.Verify(t.Context(), []*x509.Certificate{w.leaf, w.issuing.Certificate}, now); len(got.Names) != 1 {
		t.Errorf("%+v", got)
	}
	set.Anchors[0].Revocation = &anchor.Sources{Lists: w.lists(list(t, w.issuing, 1, 7))}
	if got := set.Verify(t.Context(), []*x509.Certificate{w.leaf, w.issuing.Certificate}, now); len(got.Names) != 0 || len(got.Unavailable) != 0 {
		t.Errorf("revoked: %+v", got)
	}
}

func TestAnAnswerIsKeptAndAskedForAgain(t *testing.T) {
	w := newWorld(t)
	a, r := respond(t, w.issuing, map[int64]int{7: xocsp.Good})
	s := &anchor.Sources{Lists: w.lists(list(t, w.root, 1)), Responder: r}
	s.Lists[0].Place.(*place).der = longList(t, w.root)
	a.next = now.Add(20 * time.Minute)
	for _, step := range []struct {
		name   string
		after  time.Duration
		change func(*answers)
		want   string
		asked  int
	}{
		{"at first", 0, nil, "vouched", 1},
		{"from memory", 4 * time.Minute, nil, "vouched", 1},
		{"after five minutes it is asked", 5 * time.Minute, nil, "vouched", 2},
		{"revoked, and not asked yet", 6 * time.Minute, func(a *answers) { a.status[7] = xocsp.Revoked }, "vouched", 2},
		{"revoked, and asked", 10 * time.Minute, nil, "refused", 3},
		{"revoked, from memory", 11 * time.Minute, nil, "refused", 3},
		{"no longer on hold", 16 * time.Minute, func(a *answers) { a.status[7] = xocsp.Good }, "vouched", 4},
		{"down, the answer is still fresh", 21*time.Minute - time.Minute, func(a *answers) { a.fail = 500 }, "vouched", 4},
		{"down, asked, the answer has ended", 22 * time.Minute, nil, "unavailable", 5},
		{"down, and not asked again at once", 22*time.Minute + 20*time.Second, nil, "unavailable", 5},
		{"down, asked again", 22*time.Minute + 30*time.Second, nil, "unavailable", 6},
		{"up again, revoked", 24 * time.Minute, func(a *answers) {
			a.fail, a.status[7], a.last, a.next = 0, xocsp.Revoked, now.Add(23*time.Minute), now.Add(25*time.Minute)
		}, "refused", 7},
		{"down, the revocation has ended, and stays", time.Hour, func(a *answers) { a.fail = 500 }, "refused", 8},
	} {
		if step.change != nil {
			a.change(step.change)
		}
		if got, result := w.verify(t, s, now.Add(step.after)); got != step.want || a.count() != step.asked {
			t.Errorf("%s: %s after %d questions, want %s after %d: %q", step.name, got, a.count(), step.want, step.asked, result.Reasons)
		}
	}
}

// longList is fresh for days.
func longList(t testing.TB, s ratest.Signer) []byte {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(240 * time.Hour),
	}, s.Certificate, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestSourcesTellTheirState(t *testing.T) {
	w := newWorld(t)
	a, r := respond(t, w.issuing, map[int64]int{7: xocsp.Good})
	failing := &place{err: errors.New("connection refused")}
	s := &anchor.Sources{Lists: append(w.lists(list(t, w.root, 1)), w.at(failing)), Responder: r}
	s.Refresh(t.Context(), now)
	if a.count() != 0 {
		t.Error("the responder is asked about nothing")
	}
	if got := s.Failures(now); len(got) != 1 || !strings.Contains(got[0], "connection refused") {
		t.Errorf("failures %q", got)
	}
	failing.set(list(t, w.root, 2), nil)
	w.verify(t, s, now.Add(time.Minute))
	ends := s.Expiries()
	if len(s.Failures(now.Add(time.Minute))) != 0 || !ends["crl"].Equal(now.Add(time.Hour)) || !ends["ocsp"].Equal(now.Add(time.Hour)) {
		t.Errorf("failures %q, ends %v", s.Failures(now), ends)
	}
	a.change(func(a *answers) { a.fail = 500 })
	s.Refresh(t.Context(), now.Add(7*time.Minute))
	if got := s.Failures(now.Add(7 * time.Minute)); a.count() != 2 || len(got) != 1 || !strings.Contains(got[0], "ocsp http://") {
		t.Errorf("after %d questions: %q", a.count(), got)
	}
	if got := s.Failures(now.Add(2 * time.Hour)); len(got) != 3 {
		t.Errorf("stale: %q", got)
	}
}
