// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/wire"
)

func TestEnrollAndReenroll(t *testing.T) {
	ca := newAuthority(t, "Example")
	r := serve(t, ca, ca.server(nil), 0)
	c := r.client()
	c.Label, c.Basic, c.UserAgent = "routers", &Credentials{"device", "hunter2"}, "test/1"
	key := newKey(t)
	first, err := c.Enroll(context.Background(), key, device(t, "a.example"))
	if err != nil {
		t.Fatal(err)
	}
	if got := first.Certificate; got.Subject.CommonName != "a.example" || !slices.Equal(got.DNSNames, []string{"a.example"}) {
		t.Errorf("issued to %s, %v", got.Subject, got.DNSNames)
	}
	if len(first.Chain) != 3 || !first.Chain[0].Equal(first.Certificate) || !first.Chain[2].Equal(ca.root) || first.Linked != "" {
		t.Errorf("chain of %d, linked %q", len(first.Chain), first.Linked)
	}
	current := tls.Certificate{Certificate: [][]byte{first.Certificate.Raw}, PrivateKey: key}
	second, err := c.Reenroll(context.Background(), current, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	if second.Certificate.Subject.String() != first.Certificate.Subject.String() || !slices.Equal(second.Certificate.DNSNames, first.Certificate.DNSNames) {
		t.Errorf("renewed as %s, %v", second.Certificate.Subject, second.Certificate.DNSNames)
	}
	list := r.seen()
	last := list[len(list)-1]
	if last.path != "/.well-known/est/routers/simplereenroll" || last.certificates != 1 || last.agent != "test/1" {
		t.Errorf("the last request was %s with %d certificates by %q", last.path, last.certificates, last.agent)
	}
	for _, s := range list {
		post := s.method == http.MethodPost
		if got := s.authorization != ""; got != post {
			t.Errorf("%s %s: credentials sent: %v", s.method, s.path, got)
		}
	}
}

// Every TLS version and HTTP version must give the binding that the server
// computes for its own end of the same connection.
func TestRequestsAreLinkedToTheirChannel(t *testing.T) {
	ca := newAuthority(t, "Example")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", tls.VersionName(version), h2), func(t *testing.T) {
				r := serve(t, ca, ca.server(nil), version)
				c := r.client()
				c.Link, c.HTTP2 = true, h2
				done, err := c.Enroll(context.Background(), newKey(t), device(t, "a.example"))
				if err != nil {
					t.Fatal(err)
				}
				list := r.seen()
				last := list[len(list)-1]
				if got := linking(t, last); got != policy.Matched || done.Linked != binding.TypeOf(version) {
					t.Errorf("linking is %s, reported %q", got, done.Linked)
				}
				if last.tls.Version != version || (last.tls.NegotiatedProtocol == "h2") != h2 {
					t.Errorf("it went over %s %q", tls.VersionName(last.tls.Version), last.tls.NegotiatedProtocol)
				}
			})
		}
	}
}

func linking(t *testing.T, s seen) policy.Linking {
	t.Helper()
	der, _, err := wire.DecodeBody(s.body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := csr.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := request.CheckPOP(); err != nil {
		t.Error(err)
	}
	return binding.Check(binding.FromTLS(&s.tls), request)
}

func TestLinksWhenTheServerAsks(t *testing.T) {
	ca := newAuthority(t, "Example")
	for name, test := range map[string]struct {
		attrs string
		want  policy.Linking
	}{
		"the server has no attributes":     {"", policy.Absent},
		"the list is empty":                {"MAA=", policy.Absent},
		"challengePassword is in the list": {asksChallenge, policy.Matched},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, ca, ca.server(nil), 0)
			r.attrs = test.attrs
			if _, err := r.client().Enroll(context.Background(), newKey(t), device(t, "a.example")); err != nil {
				t.Fatal(err)
			}
			list := r.seen()
			if got := linking(t, list[len(list)-1]); got != test.want {
				t.Errorf("linking is %s, want %s", got, test.want)
			}
		})
	}
}

func TestCSRAttrs(t *testing.T) {
	ca := newAuthority(t, "Example")
	r := serve(t, ca, ca.server(nil), 0)
	var status int
	var kind, body string
	r.answer = func(w http.ResponseWriter, _ *http.Request, _ seen) bool {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	}
	for _, test := range []struct {
		name       string
		status     int
		kind, body string
		count      int
		wrong      string
	}{
		{"404 is none", 404, "text/plain", "", 0, ""},
		{"a list", 200, wire.TypeCSRAttrs, asksChallenge, 3, ""},
		{"another type", 200, "text/html", asksChallenge, 0, `type "text/html"`},
		{"no base64", 200, wire.TypeCSRAttrs, "!", 0, "base64"},
		{"no list", 200, wire.TypeCSRAttrs, "AAAA", 0, "csrattrs"},
		{"an error of the server", 500, "text/plain", "down", 0, "500 Internal Server Error: down"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, kind, body = test.status, test.kind, test.body
			list, err := r.client().CSRAttrs(context.Background())
			if len(list) != test.count || (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%v, error %v", list, err)
			}
		})
	}
}

func TestAnswersThatAreNotTaken(t *testing.T) {
	ca, stranger := newAuthority(t, "Example"), newAuthority(t, "Stranger")
	key := newKey(t)
	leaf := func(a *authority) *x509.Certificate { return a.issue(x509.Certificate{}, key.Public()) }
	for name, test := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   string
	}{
		"another key":           {func(w http.ResponseWriter) { sendCerts(w, ca.issue(x509.Certificate{}, newKey(t).Public())) }, "another key"},
		"another CA":            {func(w http.ResponseWriter) { sendCerts(w, leaf(stranger)) }, "explicit trust anchors"},
		"a whole chain":         {func(w http.ResponseWriter) { sendCerts(w, leaf(ca), ca.intermediate) }, "2 certificates, want exactly one"},
		"a page":                {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "<html>") }, `type "text/html; charset=utf-8"`},
		"an empty body":         {func(w http.ResponseWriter) { w.Header().Set("Content-Type", wire.TypeCertsOnly) }, "empty"},
		"more than it may be":   {func(w http.ResponseWriter) { _, _ = w.Write(make([]byte, maxAnswer+1)) }, "longer than"},
		"a redirect":            {func(w http.ResponseWriter) { w.Header().Set("Location", "/x"); w.WriteHeader(307) }, "307 Temporary Redirect"},
		"a refusal with a text": {func(w http.ResponseWriter) { http.Error(w, "refused \x1b[31mby\npolicy", http.StatusForbidden) }, "403 Forbidden: refused [31mby policy"},
	} {
		t.Run(name, func(t *testing.T) {
			r := serve(t, ca, ca.server(nil), 0)
			r.answer = func(w http.ResponseWriter, req *http.Request, _ seen) bool {
				if req.Method == http.MethodPost {
					test.answer(w)
				}
				return req.Method == http.MethodPost
			}
			_, err := r.client().Enroll(context.Background(), key, device(t, "a.example"))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
			if n := len(slices.DeleteFunc(r.seen(), func(s seen) bool { return s.method != http.MethodPost })); n != 1 {
				t.Errorf("%d POSTs", n)
			}
		})
	}
}

func TestPendingTellsWhenToAskAgain(t *testing.T) {
	ca := newAuthority(t, "Example")
	r := serve(t, ca, ca.server(nil), 0)
	r.answer = func(w http.ResponseWriter, req *http.Request, _ seen) bool {
		if req.Method != http.MethodPost {
			return false
		}
		w.Header().Set("Retry-After", "120")
		w.Header().Set("X-Request-Id", "abc")
		w.WriteHeader(http.StatusAccepted)
		return true
	}
	_, err := r.client().Enroll(context.Background(), newKey(t), device(t, "a.example"))
	var status *StatusError
	if !errors.As(err, &status) || !status.Pending() || status.RetryAfter != 2*time.Minute || status.RequestID != "abc" || status.Op != policy.SimpleEnroll {
		t.Errorf("error %#v", err)
	}
}

func TestAPendingRequestIsSentAgainForAsLongAsItIsToBe(t *testing.T) {
	ca := newAuthority(t, "Example")
	r := serve(t, ca, ca.server(nil), 0)
	posts := 0
	r.answer = func(w http.ResponseWriter, req *http.Request, _ seen) bool {
		if req.Method != http.MethodPost {
			return false
		}
		if posts++; posts > 2 {
			return false
		}
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusAccepted)
		return true
	}
	c := r.client()
	c.Wait = time.Minute
	var waits []time.Duration
	c.Waits = func(_ *StatusError, after time.Duration) { waits = append(waits, after) }
	if _, err := c.Enroll(context.Background(), newKey(t), device(t, "a.example")); err != nil || posts != 3 || len(waits) != 2 || waits[0] != time.Second {
		t.Errorf("%d requests, waits %v: %v", posts, waits, err)
	}
	posts = -100
	c.Wait = time.Second
	_, err := c.Enroll(context.Background(), newKey(t), device(t, "a.example"))
	if status, ok := errors.AsType[*StatusError](err); !ok || !status.Pending() || posts != -98 {
		t.Errorf("%d requests: %v", posts+100, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	c.Wait = time.Hour
	if _, err := c.Enroll(ctx, newKey(t), device(t, "a.example")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("given up: %v", err)
	}
}

func TestARefusalNamesTheRequestOnce(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "simpleenroll: the server answered 401 Unauthorized (request abc)",
		"request abc was refused": "simpleenroll: the server answered 401 Unauthorized: request abc was refused",
	} {
		e := &StatusError{Op: policy.SimpleEnroll, Status: 401, Text: text, RequestID: "abc"}
		if got := e.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestWhoTheServerMayBe(t *testing.T) {
	ca, stranger := newAuthority(t, "Example"), newAuthority(t, "Stranger")
	otherName := func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"elsewhere.example"} }
	ra := func(c *x509.Certificate) {
		otherName(c)
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{cmcRA}
	}
	clientOnly := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }
	for _, test := range []struct {
		name     string
		change   func(*x509.Certificate)
		explicit *authority
		implicit *authority
		wrong    string
	}{
		{"our name under an explicit anchor", nil, ca, nil, ""},
		{"id-kp-cmcRA under an explicit anchor, with another name", ra, ca, nil, ""},
		{"another name under an explicit anchor", otherName, ca, nil, "neither our name for it nor id-kp-cmcRA"},
		{"our name under an implicit anchor", nil, stranger, ca, ""},
		{"id-kp-cmcRA under an implicit anchor counts for nothing", ra, stranger, ca, "cannot validate certificate for 127.0.0.1"},
		{"no anchor of ours", nil, stranger, nil, "does not verify under the explicit"},
		{"neither database", nil, stranger, stranger, "under any trust anchor"},
		{"a client's certificate", clientOnly, ca, nil, "does not verify"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := serve(t, ca, ca.server(test.change), 0)
			c := r.client()
			c.Explicit = []*x509.Certificate{test.explicit.root}
			if test.implicit != nil {
				c.Implicit = pool([]*x509.Certificate{test.implicit.root})
			}
			_, err := c.CACerts(context.Background())
			if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("error %v, want %q", err, test.wrong)
			}
		})
	}
}

func TestImplicitAnchorsFetchTheExplicitOnes(t *testing.T) {
	ca, web := newAuthority(t, "Example"), newAuthority(t, "Web")
	r := serve(t, ca, web.server(nil), 0)
	c := &Client{URL: r.URL, Implicit: pool([]*x509.Certificate{web.root})}
	if _, err := c.Enroll(context.Background(), newKey(t), device(t, "a.example")); err != nil {
		t.Fatal(err)
	}
	if len(c.Explicit) != 1 || !c.Explicit[0].Equal(ca.root) {
		t.Errorf("%d explicit anchors", len(c.Explicit))
	}
}

func TestReenrollNeedsACertificate(t *testing.T) {
	c := &Client{URL: "https://est.example"}
	for _, current := range []tls.Certificate{{}, {Certificate: [][]byte{{0x30, 0}}}} {
		if _, err := c.Reenroll(context.Background(), current, newKey(t)); err == nil || !strings.Contains(err.Error(), "current certificate") {
			t.Errorf("error %v", err)
		}
	}
	if _, err := c.Enroll(context.Background(), nil, Template{}); err == nil {
		t.Error("enrolled without a key")
	}
}
