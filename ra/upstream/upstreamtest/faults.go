// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/caddy-est/estra/ra"
)

// secretWord stands in answers that no device may read.
const secretWord = "sesame"

// forgedLine would make two lines of a log.
const forgedLine = secretWord + "\n\x1b[31mlevel=info"

// tooLong is more than any upstream reads of an answer.
const tooLong = 4 << 20

// A fault is what goes wrong with a request for a certificate.
type fault struct {
	name  string
	does  func(*Asked)
	kinds []ra.Kind
	// retry is the Retry-After that comes of it; 0: any.
	retry time.Duration
	says  string // a part of the reason
	// signed says that the CA has signed.
	signed bool
}

// says answers in place of the CA.
func says(status int, body string, header ...string) func(*Asked) {
	return func(a *Asked) {
		a.Status, a.Body = status, []byte(body)
		for i := 0; i+1 < len(header); i += 2 {
			a.Header.Set(header[i], header[i+1])
		}
		a.Answer()
	}
}

// signed does something with the CA's own answer.
func signed(then func(*Asked)) func(*Asked) {
	return func(a *Asked) {
		if !a.Pass() {
			a.Reset()
			return
		}
		then(a)
	}
}

var (
	down    = []ra.Kind{ra.UpstreamDown}
	unknown = []ra.Kind{ra.UpstreamTimeout}
)

// half is the Retry-After of who gives none.
const half = 30 * time.Second

func faults() []fault {
	all := []fault{
		{name: "401 is about our credential", does: says(401, forgedLine), kinds: down, retry: half, says: "401"},
		{name: "404 is another server", does: says(404, "<html>\r\n"+forgedLine), kinds: down, retry: half, says: "404"},
		{name: "405 is one, too", does: says(405, ""), kinds: down, retry: half, says: "405"},
		{name: "500 is the CA's fault", does: says(500, forgedLine), kinds: down, retry: half, says: "500"},
		{name: "503 says when to come back", does: says(503, forgedLine, "Retry-After", "7"), kinds: down, retry: 7 * time.Second, says: "503"},
		{name: "503 can't keep devices away for long", does: says(503, "", "Retry-After", "99999999999"), kinds: down, retry: time.Hour, says: "503"},
		{name: "503 with nonsense in Retry-After has our own", does: says(503, "", "Retry-After", "-1"), kinds: down, retry: half, says: "503"},
		{name: "503 without one, too", does: says(503, ""), kinds: down, retry: half, says: "503"},
		{name: "429 is a CA that has too much to do", does: says(429, "", "Retry-After", "3"), kinds: []ra.Kind{ra.Busy, ra.UpstreamDown}, retry: 3 * time.Second, says: "429"},
		{name: "a redirect isn't followed", does: says(307, "", "Location", "https://127.0.0.1:1/elsewhere"), kinds: down, retry: half},
		{name: "502 of a gateway leaves the outcome open", does: says(502, ""), kinds: unknown, says: "502"},
		{name: "504 of a gateway leaves it open", does: says(504, ""), kinds: unknown, says: "504"},
		{name: "an endless header", does: says(200, "", "X-Long", strings.Repeat("x", 1<<18)), kinds: unknown},
		{name: "an endless answer", does: says(200, strings.Repeat(" ", tooLong)), kinds: unknown, says: "more than"},
		{name: "an endless refusal", does: says(401, strings.Repeat("é", tooLong/2)), kinds: down, says: "…"},
		{name: "a connection that breaks", does: (*Asked).Reset, kinds: unknown, says: "may have issued"},
		{name: "the CA has signed, and the connection breaks", does: signed((*Asked).Reset), signed: true},
		{name: "the CA has signed, and half of it arrives", does: signed((*Asked).Cut), signed: true},
		{name: "the CA has signed, and a gateway gave it up", does: signed(says(504, "")), signed: true},
		{name: "the CA has signed, and its answer is overwritten", does: signed(says(200, "\x00\xff")), signed: true},
	}
	for _, body := range []string{"", "{}", "[]", "null", "7", `"x"`, "hello", "<html>It works!</html>", "\x00\xff\xfe", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "AAAA", strings.Repeat("[", 1<<16)} {
		name := fmt.Sprintf("a good status with %.20q", body)
		all = append(all, fault{name: name, does: says(200, body), kinds: unknown})
	}
	return all
}

func (s Subject) testFaults(t *testing.T) {
	front := s.line(t)
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			up := s.Open(t, Place{URL: front.URL})
			order := plain(t, up)
			_, before := front.counts()
			ctx, cancel := context.WithTimeout(t.Context(), s.CA.patience())
			defer cancel()
			front.spoil(f.does)
			issued, err := up.Issue(ctx, order)
			front.spoil(nil)
			front.sentOnce(t, f.name, before)
			if f.signed && s.CA.Finds && err == nil && issued.Certificate != nil {
				return
			}
			if f.signed && s.CA.Finds && !s.CA.Keeps {
				t.Fatalf("what was lost isn't found: %v", err)
			}
			if f.signed {
				f.kinds = unknown
			}
			if issued.Certificate != nil {
				t.Fatal("it gave a certificate")
			}
			f.hold(t, s, err)
			if s.CA.Keeps { // it may have asked so often that the CA rests
				up = s.Open(t, Place{URL: front.URL})
			}
			Issue(t, up, plain(t, up)) // the next one has nothing of it
		})
	}
}

// patience is how long it is worth waiting for an order that fails: one that stays
// open is gone on with until then.
func (ca *CA) patience() time.Duration {
	if ca.Keeps {
		return 2 * shortly
	}
	return patience
}

// hold holds an error to its fault: the kind, the words for the operator in one
// line, and none of the CA's for the device.
func (f fault) hold(t testing.TB, s Subject, err error) {
	t.Helper()
	kind, ok := kindOf(err)
	if ok && kind == ra.Pending && s.CA.Keeps {
		if e := Fails(t, err, kind); e.Ref == "" {
			t.Errorf("nobody could ask for it again: %v", e)
		}
		return
	}
	if !ok || !slices.Contains(f.kinds, kind) {
		t.Fatalf("got %v, want a kind of %v", err, f.kinds)
	}
	e := Fails(t, err, kind)
	if f.retry != 0 && e.RetryAfter != f.retry {
		t.Errorf("Retry-After is %s, want %s", e.RetryAfter, f.retry)
	}
	if kind == ra.UpstreamTimeout && e.RetryAfter != 0 {
		t.Errorf("a request whose outcome nobody knows may come again after %s", e.RetryAfter)
	}
	if !strings.Contains(e.Text(), f.says) {
		t.Errorf("the reason is %q, want %q in it", e.Text(), f.says)
	}
	s.private(t, e)
}

// private holds an error to what each reader may read.
func (s Subject) private(t testing.TB, e *ra.Error) {
	t.Helper()
	if e.Reason == "" || strings.IndexFunc(e.Reason, unicode.IsControl) >= 0 || len(e.Reason) > 4<<10 {
		t.Errorf("the operator would read %q", e.Reason)
	}
	public, words := strings.ToLower(e.Public), []string{secretWord, "127.0.0.1"}
	if s.CA != nil {
		words = append(words, strings.ToLower(s.CA.Name))
	}
	for _, word := range words {
		if strings.Contains(public, word) {
			t.Errorf("the client would read %q", e.Public)
		}
	}
}

// testNoCACerts spoils what isn't about an order.
func (s Subject) testNoCACerts(t *testing.T) {
	front := s.line(t)
	for name, does := range map[string]func(*Asked){
		"500": says(500, forgedLine), "404": says(404, ""), "401": says(401, ""), "503": says(503, ""), "504": says(504, ""), "429": says(429, ""),
		"a redirect": says(302, "", "Location", "https://127.0.0.1:1/"), "nothing": says(200, ""), "no JSON": says(200, "hello"), "no certificate": says(200, "{}"),
		"a certificate that is none": says(200, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		"an endless answer":          says(200, strings.Repeat(" ", tooLong)), "a connection that breaks": (*Asked).Reset, "half of them": signed((*Asked).Cut),
	} {
		t.Run(name, func(t *testing.T) {
			up := s.Open(t, Place{URL: front.URL})
			before, _ := front.counts()
			front.spoilReads(does)
			certs, err := up.CACerts(t.Context())
			front.spoilReads(nil)
			if after, _ := front.counts(); after == before {
				return // it needn't ask: they are configured
			}
			if err == nil {
				t.Fatalf("it gave %d certificates", len(certs))
			}
			kind, _ := kindOf(err)
			if kind != ra.UpstreamDown && kind != ra.Busy {
				t.Errorf("%v: what only reads leaves nothing open, and is nobody's fault", err)
			}
			s.private(t, Fails(t, err, kind))
			if _, err := up.CACerts(t.Context()); err != nil {
				t.Errorf("and then: %v", err)
			}
		})
	}
}

// testNotTheCA has a server of another CA, and none, at the address.
func (s Subject) testNotTheCA(t *testing.T) {
	stranger := s
	copied := *s.CA
	copied.Server = strangerCertificate(t)
	stranger.CA = &copied
	front := stranger.line(t)
	for name, c := range map[string]struct{ url, says string }{
		"a server of another CA": {front.URL, "verify"},
		"nobody":                 {"https://" + FreeAddress(t), "no connection"},
	} {
		up := s.Open(t, Place{URL: c.url})
		order := plain(t, up)
		for what, ask := range map[string]func() error{
			"Issue": func() error { _, err := up.Issue(t.Context(), order); return err },
			"CACerts": func() error {
				if certs, err := up.CACerts(t.Context()); err != nil || len(certs) == 0 {
					return err
				}
				return nil // they are configured
			},
		} {
			err := ask()
			if what == "CACerts" && err == nil {
				continue
			}
			e := Fails(t, err, ra.UpstreamDown)
			if e.RetryAfter == 0 || !strings.Contains(e.Text(), c.says) {
				t.Errorf("%s at %s: %q, Retry-After %s", what, name, e.Text(), e.RetryAfter)
			}
			s.private(t, e)
		}
	}
	if asked, _ := front.counts(); asked != 0 {
		t.Errorf("the server of another CA was sent %d requests", asked)
	}
}
