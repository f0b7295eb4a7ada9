// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/store"
)

const approvalRules = `
version: 1
name: approvals
default: one
profiles:
  one:
    labels: [one]
    enroll: {who: [{http_basic: {users: [estuser]}}, {client_cert: {anchor: idevid}}], linking: if_present, approval: manual}
    reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present, same_key: allow, approval: manual}
BODY
  two:
    labels: [two]
    enroll: {who: [{http_basic: {users: [estuser]}}], linking: if_present, approve_when: csr.subject.CN.startsWith("odd"), approvals: 2}
BODY
  once:
    labels: [once]
    enroll: {who: [{one_time_password: {}}], linking: if_present, approval: manual}
BODY
  keys:
    labels: [keys]
    serverkeygen: {enabled: true, who: [{http_basic: {users: [estuser]}}], encryption: if_asked, approval: manual}
BODY
  sites:
    labels: [sites]
    on_behalf: {who: [{client_cert: {anchor: ours, role: ra, subject: {CN: ra.example}}, names: ["*.example"]}], linking: trusted, approval: manual}
BODY
`

// An approvalSite has a store, a clock that can be turned, and people.
type approvalSite struct {
	*onceSite
	path string
}

func newApproval(t testing.TB) *approvalSite {
	a := &approvalSite{onceSite: &onceSite{clock: time.Now()}, path: filepath.Join(t.TempDir(), "store.db")}
	a.site = newSite(t, func(x *site) { x.Now = func() time.Time { return a.clock } })
	a.reopen()
	t.Cleanup(func() {
		if err := a.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// reopen starts the server's part anew, as after a restart: only the store stays.
func (a *approvalSite) reopen() {
	a.t.Helper()
	if a.store != nil {
		if err := a.store.Close(); err != nil {
			a.t.Fatal(err)
		}
	}
	var err error
	if a.store, err = store.OpenSQLite(context.Background(), a.path, store.Options{Create: true}); err != nil {
		a.t.Fatal(err)
	}
	a.rule(approvalRules)
}

// rule puts another policy into force.
func (a *approvalSite) rule(text string) {
	a.t.Helper()
	a.Policy = policyOf(a.t, strings.ReplaceAll(text, "BODY", strings.Trim(body, "\n")))
	a.Passwords, a.Devices = a.store.Passwords(), a.store.Devices()
	a.Authority = &ra.Authority{
		Policy: a.Policy, CAs: map[string]*ra.CA{"test": a.ca.Known("test")}, Now: func() time.Time { return a.clock },
		Claims: a.store.Claims(), Made: a.store.Made(), Pending: a.store.Pending(),
	}
}

// waiting are the requests in the store, the oldest first.
func (a *approvalSite) waiting(want int) []store.Waiting {
	a.t.Helper()
	list, err := a.store.Pending().List(a.t.Context(), a.clock)
	if err != nil || len(list) != want {
		a.t.Fatalf("%d requests are in the store, %v; want %d", len(list), err, want)
	}
	return list
}

// says has somebody decide, by name.
func (a *approvalSite) says(who, id string, approves bool, note string) error {
	a.t.Helper()
	by, err := ra.StatedApprover(who)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.judge(id, ra.Judgement{By: by, Approves: approves, Note: note, Disclose: true})
}

func (a *approvalSite) judge(id string, j ra.Judgement) error {
	j.ID, j.Write = "decision", a.Write
	_, err := a.Authority.Judge(a.t.Context(), id, j)
	return err
}

func (a *approvalSite) approve(id string) {
	a.t.Helper()
	if err := a.says("anna", id, true, "seen"); err != nil {
		a.t.Fatal(err)
	}
}

// A request that waits is answered as old clients need it (interop.md): 202 with
// whole seconds and an empty body.
func TestARequestWaitsUntilSomebodyHasApprovedIt(t *testing.T) {
	a := newApproval(t)
	first := a.enroll("the first", 202, "one", a.csr("P-256/a", "a.example"), right)
	if first.body != "" || first.Header.Get("Content-Length") != "0" || first.Header.Get("Content-Type") != "text/plain; charset=utf-8" || first.Header.Get("Retry-After") != "30" {
		t.Errorf("%q %v", first.body, first.Header)
	}
	rec, rep := a.last(first.Header.Get("X-Request-Id"))
	w := a.waiting(1)[0]
	if rec.Outcome != "pending" || rec.Pending == nil || rec.Pending.ID.String() != w.ID || rec.Decision.Verdict != "defer" || rep.Kind != "pending" || !rep.Outcome.Pended.Begun {
		t.Errorf("%+v, %+v", rec, rep)
	}
	a.reopen()
	// A CSR that was made anew, on a new connection.
	again := a.enroll("the repeat", 202, "one", a.csr("P-256/a", "a.example"), right)
	if _, rep := a.last(again.Header.Get("X-Request-Id")); rep.Outcome.Pended.ID != w.ID || rep.Outcome.Pended.Begun {
		t.Errorf("the repeat is %+v", rep.Outcome.Pended)
	}
	if len(a.ca.Orders()) != 0 {
		t.Error("the CA was asked")
	}
	a.approve(w.ID)
	done := a.enroll("once it is approved", 200, "one", a.csr("P-256/a", "a.example"), right)
	if leaf := done.certs(t)[0]; leaf.Subject.CommonName != "a.example" {
		t.Errorf("issued: %s", leaf.Subject)
	}
	rec, _ = a.last(done.Header.Get("X-Request-Id"))
	if rec.Outcome != "issued" || rec.Pending.ID.String() != w.ID || len(rec.Pending.Approvers) != 1 || rec.Pending.Approvers[0].Name != "anna" || rec.Pending.Approvers[0].Note != "seen" {
		t.Errorf("%+v", rec.Pending)
	}
	a.enroll("its answer was lost", 200, "one", a.csr("P-256/a", "a.example"), right)
	a.clock = a.clock.Add(25 * time.Hour)
	a.enroll("a day later", 202, "one", a.csr("P-256/a", "a.example"), right)
	if now := a.waiting(1)[0]; now.ID == w.ID {
		t.Error("the approval was good for two certificates")
	}
}

func TestAClientWaitsLongerTheLongerItHasWaited(t *testing.T) {
	a := newApproval(t)
	for _, step := range []struct {
		after time.Duration
		want  string
	}{{0, "30"}, {time.Minute, "30"}, {8 * time.Minute, "60"}, {2 * time.Hour, "600"}, {6 * 24 * time.Hour, "600"}} {
		begin := a.clock
		a.clock = begin.Add(step.after)
		if got := a.enroll("", 202, "one", a.csr("P-256/a", "a.example"), right); got.Header.Get("Retry-After") != step.want {
			t.Errorf("after %s: %s, want %s", step.after, got.Header.Get("Retry-After"), step.want)
		}
		a.clock = begin
	}
}

func TestAnotherRequestHasAStateOfItsOwn(t *testing.T) {
	a := newApproval(t)
	a.enroll("one", 202, "one", a.csr("P-256/a", "a.example"), right)
	a.approve(a.waiting(1)[0].ID)
	for what, ask := range map[string]func() got{
		"another identity": func() got {
			return a.enroll("another identity", 202, "one", a.csr("P-256/a", "a.example"), "", a.device("dev"))
		},
		"another key":  func() got { return a.enroll("another key", 202, "one", a.csr("P-256/b", "a.example"), right) },
		"another name": func() got { return a.enroll("another name", 202, "one", a.csr("P-256/a", "b.example"), right) },
		"another extension": func() got {
			return a.enroll("another extension", 202, "one", a.csr("P-256/a", "a.example", csrtest.Extension("2.5.29.15", true, []byte{3, 2, 7, 128})), right)
		},
		"another label": func() got { return a.enroll("another label", 202, "two", a.csr("P-256/a", "odd.example"), right) },
	} {
		if got := ask(); got.StatusCode != 202 {
			t.Errorf("%s: %d", what, got.StatusCode)
		}
	}
	a.waiting(6)
	a.enroll("who was approved", 200, "one", a.csr("P-256/a", "a.example"), right)
}

func TestADenialIsToldWhereItMayBe(t *testing.T) {
	a := newApproval(t)
	for _, disclose := range []bool{true, false} {
		key := fmt.Sprintf("P-256/%t", disclose)
		a.enroll("one", 202, "one", a.csr(key, "a.example"), right)
		by, _ := ra.StatedApprover("anna")
		list := a.waiting(1 + map[bool]int{true: 0, false: 1}[disclose])
		i := slices.IndexFunc(list, func(w store.Waiting) bool { return w.State == store.PendingWaiting })
		if err := a.judge(list[i].ID, ra.Judgement{By: by, Note: "call the depot", Disclose: disclose}); err != nil {
			t.Fatal(err)
		}
		g := a.enroll("denied", 403, "one", a.csr(key, "a.example"), right)
		if strings.Contains(g.body, "call the depot") != disclose {
			t.Errorf("disclosed: %v, and the client reads %q", disclose, g.body)
		}
		rec, _ := a.last(g.Header.Get("X-Request-Id"))
		if rec.Outcome != "refused" || !strings.Contains(rec.Reason.String(), "anna has denied it") || !strings.Contains(rec.Reason.String(), "call the depot") {
			t.Errorf("%+v", rec)
		}
	}
	a.clock = a.clock.Add(15 * 24 * time.Hour)
	a.enroll("once it is forgotten", 202, "one", a.csr("P-256/true", "a.example"), right)
}

func TestThreat_NobodyApprovesHisOwnRequest(t *testing.T) {
	a := newApproval(t)
	device := a.device("Dev 7")
	leaf, err := x509.ParseCertificate(device.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	shown := func(c *x509.Certificate) ra.Approver {
		by, err := ra.CertifiedApprover(c)
		if err != nil {
			t.Fatal(err)
		}
		return by
	}
	stated := func(name string) ra.Approver {
		by, err := ra.StatedApprover(name)
		if err != nil {
			t.Fatal(err)
		}
		return by
	}
	key := csrtest.Key(t, "P-256/a")
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	a.enroll("by certificate", 202, "one", a.csr("P-256/a", "a.example"), "", device)
	a.enroll("by account", 202, "one", a.csr("P-256/b", "b.example"), right)
	byCert, byAccount := a.waiting(2)[0].ID, a.waiting(2)[1].ID
	if a.waiting(2)[0].Who[:11] != "client_cert" {
		byCert, byAccount = byAccount, byCert
	}
	for name, c := range map[string]struct {
		id  string
		by  ra.Approver
		own bool
	}{
		"the same certificate":            {byCert, shown(leaf), true},
		"the certificate's common name":   {byCert, stated(" dev  7"), true},
		"the key that is to be certified": {byCert, shown(&x509.Certificate{Subject: pkix.Name{CommonName: "x"}, RawSubjectPublicKeyInfo: spki}), true},
		"the account's name":              {byAccount, stated("ESTUser"), true},
		"a certificate of that name":      {byAccount, shown(nameOf(leaf, "estuser")), true},
		"somebody else's name":            {byAccount, stated("anna"), false},
		"somebody else's, certificate":    {byCert, stated("estuser"), false},
	} {
		err := a.judge(c.id, ra.Judgement{By: c.by, Approves: true})
		if errors.Is(err, ra.ErrSelfApproval) != c.own || !c.own && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := a.judge(byCert, ra.Judgement{Approves: true}); err == nil {
		t.Error("nobody approved it")
	}
}

func nameOf(c *x509.Certificate, name string) *x509.Certificate {
	other := *c
	other.Subject.CommonName, other.RawSubjectPublicKeyInfo = name, []byte{1}
	return &other
}

func TestTwoPeopleApproveWhereThePolicySaysSo(t *testing.T) {
	a := newApproval(t)
	a.enroll("one that is usual", 200, "two", a.csr("P-256/a", "a.example"), right)
	a.enroll("an odd one", 202, "two", a.csr("P-256/b", "odd.example"), right)
	id := a.waiting(1)[0].ID
	a.approve(id)
	a.enroll("approved by one", 202, "two", a.csr("P-256/b", "odd.example"), right)
	if err := a.says(" Anna", id, true, ""); !errors.Is(err, store.ErrTaken) {
		t.Errorf("the same person twice: %v", err)
	}
	if err := a.says("bob", id, true, ""); err != nil {
		t.Fatal(err)
	}
	a.enroll("approved by two", 200, "two", a.csr("P-256/b", "odd.example"), right)
	var said []*audit.Record
	for _, r := range a.records {
		if r.Op == audit.OpApproval {
			said = append(said, r)
		}
	}
	if len(said) != 2 || said[1].Outcome != "approved" || said[1].Who.ID != "bob" || said[1].Who.Method != "stated" || len(said[1].Pending.Approvers) != 2 ||
		said[1].Pending.Requester != "http_basic:estuser" || said[1].Plan == nil {
		t.Errorf("%+v", said)
	}
}

func TestAnApprovalIsOfTheCertificateThatWasShown(t *testing.T) {
	for name, c := range map[string]struct {
		from, to string
		status   int // once it was approved before the change
		differs  string
	}{
		"nothing but a name":  {"name: approvals", "name: others", 200, ""},
		"another usage":       {"usage: {key: [digitalSignature], ext: [clientAuth]}", "usage: {key: [digitalSignature], ext: [clientAuth, serverAuth]}", 202, "ext_key_usage"},
		"a longer life":       {"validity: {default: 1d}", "validity: {default: 2d}", 202, `validity: "1d", and "2d" now`},
		"a shorter life":      {"validity: {default: 1d}", "validity: {default: 1h}", 200, ""},
		"one more approval":   {"reenroll: {who", "reenroll: {approvals: 2, who", 200, ""},
		"approved by nobody":  {"linking: if_present, approval: manual}\n    reenroll", "linking: if_present}\n    reenroll", 200, ""},
		"refused by the next": {`subject: {CN: {allow: ["**"]}`, `subject: {CN: {allow: ["b.example"]}`, 403, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := newApproval(t)
			changed := strings.ReplaceAll(strings.ReplaceAll(approvalRules, "BODY", strings.Trim(body, "\n")), c.from, c.to)
			if changed == strings.ReplaceAll(approvalRules, "BODY", strings.Trim(body, "\n")) {
				t.Fatal("nothing is changed")
			}
			// Approved before the change.
			a.enroll("one", 202, "one", a.csr("P-256/a", "a.example"), right)
			before := a.waiting(1)[0].ID
			a.approve(before)
			// And one after it, of a device that doesn't repeat in between.
			a.enroll("other", 202, "one", a.csr("P-256/b", "a.example"), right)
			after := a.waiting(2)[1].ID
			if after == before {
				after = a.waiting(2)[0].ID
			}
			a.rule(changed)
			a.enroll("after the change", c.status, "one", a.csr("P-256/a", "a.example"), right)
			err := a.says("anna", after, true, "")
			switch {
			case c.differs != "":
				if !errors.Is(err, store.ErrChanged) || !strings.Contains(err.Error(), c.differs) {
					t.Errorf("an approval of the old plan: %v", err)
				}
				a.approve(after) // of the new one
				a.enroll("approved anew", 200, "one", a.csr("P-256/b", "a.example"), right)
			case c.status == 403:
				if !errors.Is(err, ra.ErrUndecidable) {
					t.Errorf("what is refused now was approved: %v", err)
				}
			case err != nil:
				t.Error(err)
			}
		})
	}
}

func TestAOneTimePasswordIsReservedWhileItsRequestWaits(t *testing.T) {
	a := newApproval(t)
	made := a.otp("once")
	user := "device:" + string(made.Text)
	a.enroll("one", 202, "once", a.csr("P-256/a", "a.example"), user)
	a.enroll("another key", 403, "once", a.csr("P-256/b", "a.example"), user)
	a.enroll("the repeat", 202, "once", a.csr("P-256/a", "a.example"), user)
	a.clock = a.clock.Add(2 * time.Hour) // past the password's own end
	a.enroll("the repeat, later", 202, "once", a.csr("P-256/a", "a.example"), user)
	a.approve(a.waiting(1)[0].ID)
	a.enroll("another key once it is approved", 403, "once", a.csr("P-256/b", "a.example"), user)
	a.enroll("once it is approved", 200, "once", a.csr("P-256/a", "a.example"), user)

	denied := a.otp("once")
	user = "device:" + string(denied.Text)
	a.enroll("one that is denied", 202, "once", a.csr("P-256/c", "c.example"), user)
	for _, w := range a.waiting(2) {
		if w.State == store.PendingWaiting {
			if err := a.says("anna", w.ID, false, ""); err != nil {
				t.Fatal(err)
			}
		}
	}
	a.enroll("with what a denial set free", 202, "once", a.csr("P-256/d", "c.example"), user)
}

// Requirement 113: no key is held before the approval.
func TestAKeyIsMadeOnceItsRequestIsApproved(t *testing.T) {
	a := newApproval(t)
	ask := func(status int) got {
		t.Helper()
		g := a.do(call{path: "keys/serverkeygen", body: a.csr("P-256/a", "a.example"), user: right})
		if g.StatusCode != status {
			t.Fatalf("%d %q, want %d", g.StatusCode, g.body, status)
		}
		return g
	}
	waits := ask(202)
	rec, _ := a.last(waits.Header.Get("X-Request-Id"))
	if rec.Made != nil || waits.body != "" {
		t.Errorf("a key was made: %+v", rec.Made)
	}
	a.approve(a.waiting(1)[0].ID)
	done := ask(200)
	if rec, _ = a.last(done.Header.Get("X-Request-Id")); rec.Made == nil || rec.Pending == nil {
		t.Errorf("%+v", rec)
	}
	ask(200) // its answer was lost
	a.waiting(1)
}

func TestWhatARegistrationAuthorityBringsWaits(t *testing.T) {
	a := newApproval(t)
	registrar := a.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	ask := func(status int, key, name string) {
		t.Helper()
		a.enroll(name, status, "sites", a.csr(key, name), "", registrar)
	}
	ask(202, "P-256/a", "a.example")
	ask(202, "P-256/b", "b.example")
	list := a.waiting(2)
	i := slices.IndexFunc(list, func(w store.Waiting) bool { return strings.Contains(w.Names, "CN=a.example") })
	a.approve(list[i].ID)
	ask(200, "P-256/a", "a.example")
	ask(202, "P-256/b", "b.example")
	if r := list[i].Record; !strings.Contains(string(r), `"role":"ra"`) {
		t.Errorf("%s", r)
	}
}

func TestNothingIsDecidedWithoutItsRecord(t *testing.T) {
	a := newApproval(t)
	a.enroll("one", 202, "one", a.csr("P-256/a", "a.example"), right)
	id := a.waiting(1)[0].ID
	by, _ := ra.StatedApprover("anna")
	_, err := a.Authority.Judge(t.Context(), id, ra.Judgement{By: by, Approves: true, Write: func(context.Context, *audit.Record) error { return errors.New("the disk is full") }})
	if !errors.Is(err, ra.ErrUnrecorded) {
		t.Error(err)
	}
	a.enroll("the repeat", 202, "one", a.csr("P-256/a", "a.example"), right)
}

func TestWithoutAStoreNothingWaits(t *testing.T) {
	x := newSite(t, under(strings.ReplaceAll(approvalRules, "BODY", strings.Trim(body, "\n"))))
	if g := x.do(call{path: "one/simpleenroll", user: right}); g.StatusCode != 500 {
		t.Errorf("%d %q", g.StatusCode, g.body)
	}
}

// From the approval to the certificate less than 100 ms pass: nothing is left to be
// done but to issue.
func TestTheCertificateIsReadyAtOnceAfterTheApproval(t *testing.T) {
	a := newApproval(t)
	best := time.Hour
	for i := range 5 {
		key := fmt.Sprintf("P-256/%d", i)
		a.enroll("one", 202, "one", a.csr(key, "a.example"), right)
		list := a.waiting(i + 1)
		n := slices.IndexFunc(list, func(w store.Waiting) bool { return w.State == store.PendingWaiting })
		request := a.csr(key, "a.example")
		begin := time.Now()
		a.approve(list[n].ID)
		a.enroll("once it is approved", 200, "one", request, right)
		best = min(best, time.Since(begin))
	}
	t.Logf("approval, TLS handshake, request and certificate: %s", best)
	if best > 100*time.Millisecond {
		t.Errorf("%s from the approval to the certificate", best)
	}
}
