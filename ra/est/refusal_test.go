// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// refused checks what every refusal has.
func (x *site) refused(t *testing.T, g got, status int, kind, public string) {
	t.Helper()
	if g.StatusCode != status {
		t.Fatalf("%d %q, want %d", g.StatusCode, g.body, status)
	}
	id := g.Header.Get("X-Request-Id")
	if g.Header.Get("Content-Type") != "text/plain; charset=utf-8" || g.ContentLength != int64(len(g.body)) || id == "" {
		t.Errorf("header %v with %d bytes", g.Header, len(g.body))
	}
	if want := public + " (" + id + ")\n"; g.body != want {
		t.Errorf("body %q, want %q", g.body, want)
	}
	if (status == 503 || status == 429) != (g.Header.Get("Retry-After") != "") {
		t.Errorf("%d with Retry-After %q", status, g.Header.Get("Retry-After"))
	}
	record, rep := x.last(id)
	if string(record.Kind) != kind || record.Status != status || rep.Kind != kind || rep.Status != status {
		t.Errorf("record says %q %d, report %q %d", record.Kind, record.Status, rep.Kind, rep.Status)
	}
	if record.Outcome != "refused" && record.Outcome != "failed" || record.Cert != nil || record.Upstream != nil {
		t.Errorf("record %+v", record)
	}
	for _, secret := range []string{"estpwd", base64.StdEncoding.EncodeToString([]byte(right))} {
		if text := fmt.Sprintf("%+v %+v %v", record, rep, rep.Err); strings.Contains(text, secret) {
			t.Errorf("a password is in %s", text)
		}
	}
}

const unread = "request could not be read"

func TestRefusals(t *testing.T) {
	large := strings.Repeat("A", 3<<20)
	sr := strings.NewReader
	der := csrtest.New(t)
	b64 := func(der []byte) string { return base64.StdEncoding.EncodeToString(der) }
	ct := func(v ...string) http.Header { return http.Header{"Content-Type": v} }
	cases := []struct {
		name         string
		call         call
		chunked      io.Reader
		status       int
		kind, public string
	}{
		{"GET on an enrolment", call{method: "GET"}, nil, 405, "method", unread},
		{"PUT on an enrolment", call{method: "PUT"}, nil, 405, "method", unread},
		{"POST on cacerts", call{path: "cacerts", user: right}, nil, 405, "method", unread},
		{"DELETE on csrattrs", call{method: "DELETE", path: "csrattrs"}, nil, 405, "method", unread},
		{"a wrong method comes before a wrong label", call{method: "GET", path: "nowhere/simpleenroll"}, nil, 405, "method", unread},
		{"an unknown label", call{path: "nowhere/simpleenroll", user: right}, nil, 404, "no_profile", "no such label"},
		{"an unknown label on cacerts", call{method: "GET", path: "nowhere/cacerts"}, nil, 404, "no_profile", "no such label"},
		{"an operation that the profile has not", call{path: "both/simplereenroll", user: right}, nil, 404, "operation_off", "operation not offered"},
		{"csrattrs switched off", call{method: "GET", path: "cert/csrattrs"}, nil, 404, "operation_off", "operation not offered"},
		{"key generation", call{path: "serverkeygen", user: right}, nil, 404, "operation_off", "operation not offered"},
		{"3 MB with a length", call{body: large, user: right}, nil, 413, "too_large", unread},
		{"3 MB with a length from nobody", call{body: large}, nil, 413, "too_large", unread},
		{"3 MB without a length", call{user: right}, sr(large), 413, "too_large", unread},
		{"white space beyond what the policy's CSRs need", call{user: right}, sr(strings.Repeat(" ", 7000)), 413, "too_large", unread},
		{"3 MB of white space without a length", call{user: right}, sr(strings.Repeat(" ", 3<<20)), 413, "too_large", unread},
		{"a CSR beyond the policy's limit", call{body: b64(bytes.Repeat([]byte{0x30}, 4100)), user: right}, nil, 413, "too_large", unread},
		{"no media type", call{header: ct(), user: right}, nil, 415, "media_type", unread},
		{"another media type", call{header: ct("application/json"), user: right}, nil, 415, "media_type", unread},
		{"pkcs7-mime", call{header: ct("application/pkcs7-mime"), user: right}, nil, 415, "media_type", unread},
		{"an empty body", call{body: "\n", user: right}, nil, 400, "malformed", unread},
		{"malformed base64", call{body: "MII*", user: right}, nil, 400, "malformed", unread},
		{"base64 cut short", call{body: b64(der)[:101], user: right}, nil, 400, "malformed", unread},
		{"DER without base64", call{body: string(der), user: right}, nil, 400, "malformed", unread},
		{"base64 of no DER", call{body: b64([]byte("hello world")), user: right}, nil, 400, "malformed", unread},
		{"an empty sequence", call{body: b64([]byte{0x30, 0}), user: right}, nil, 400, "malformed", unread},
		{"DER cut short", call{body: b64(der[:len(der)-1]), user: right}, nil, 400, "malformed", unread},
		{"trailing bytes", call{body: b64(append(bytes.Clone(der), 5, 0)), user: right}, nil, 400, "malformed", unread},
		{"two CSRs", call{body: b64(append(bytes.Clone(der), der...)), user: right}, nil, 400, "malformed", unread},
		{"a bad signature", call{body: csrBody(t, csrtest.BadSignature()), user: right}, nil, 400, "pop_failed", "proof of possession failed"},
		{"a name beyond the policy", call{body: csrBody(t, csrtest.SAN(csrtest.IP("192.0.2.1"))), user: right}, nil, 403, "refused", "refused by policy"},
		{"a weak key", call{body: csrBody(t, csrtest.Signer(csrtest.Key(t, "rsa1024"))), user: right}, nil, 403, "bad_key", "key not accepted"},
		{"linking required and absent", call{path: "linked/simpleenroll", user: right}, nil, 403, "link_required",
			"linking of identity and proof of possession is required (RFC 7030 section 3.5)"},
		{"linking wrong", call{body: csrBody(t, csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable("AAAAAAAAAAAAAAAA"))), user: right}, nil,
			403, "link_failed", "linking of identity and proof of possession failed (RFC 7030 section 3.5)"},
		{"nobody where no password helps", call{path: "cert/simpleenroll"}, nil, 403, "unauthenticated", "authentication required"},
		{"a reenrolment without a certificate", call{path: "simplereenroll", user: right}, nil, 403, "unauthenticated", "authentication required"},
	}
	for _, http2 := range []bool{false, true} {
		x := newSite(t)
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s (HTTP/2 %v)", c.name, http2), func(t *testing.T) {
				c.call.http2 = http2
				var g got
				if c.chunked != nil {
					_, _ = c.chunked.(io.Seeker).Seek(0, io.SeekStart)
					g = x.stream(c.call, c.chunked)
				} else {
					g = x.do(c.call)
				}
				x.refused(t, g, c.status, c.kind, c.public)
				allow := g.Header.Get("Allow")
				if (allow != "") != (c.status == 405) || allow != "" && allow != "POST" && allow != "GET, HEAD" {
					t.Errorf("Allow %q", allow)
				}
			})
		}
		if n := len(x.ca.Orders()); n != 0 {
			t.Errorf("%d orders were made", n)
		}
	}
}

// stream posts a body without a Content-Length.
func (x *site) stream(c call, body io.Reader) got {
	x.t.Helper()
	req, err := http.NewRequestWithContext(x.t.Context(), http.MethodPost, x.http.URL+root+"/simpleenroll", struct{ io.Reader }{body})
	if err != nil {
		x.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	req.SetBasicAuth("estuser", "estpwd")
	resp, err := x.client(c.http2).Do(req)
	if err != nil {
		x.t.Fatal(err)
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	return got{resp, string(all)}
}

func TestThreat_WrongPathsAreRefusedAndRecorded(t *testing.T) {
	x := newSite(t)
	client := x.client(false)
	for name, path := range wrongPaths {
		t.Run(name, func(t *testing.T) {
			for _, method := range []string{"GET", "POST"} {
				req, err := http.NewRequestWithContext(t.Context(), method, x.http.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				// As sent, with nothing cleaned up on the way.
				req.URL = &url.URL{Scheme: "https", Host: req.URL.Host, Opaque: "//" + req.URL.Host + root + "/" + path}
				req.SetBasicAuth("estuser", "estpwd")
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				all, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				x.refused(t, got{resp, string(all)}, 404, "operation_off", "operation not offered")
				if _, rep := x.last(resp.Header.Get("X-Request-Id")); rep.Label != "other" || rep.Op != "" {
					t.Errorf("report %+v", rep)
				}
			}
		})
	}
	if x.checked != 0 {
		t.Errorf("%d passwords were checked", x.checked)
	}
}

func TestUpstreamFailuresHaveTheirOwnAnswers(t *testing.T) {
	cases := []struct {
		name   string
		knobs  ratest.Knobs
		status int
		kind   string
	}{
		{"the CA is down", ratest.Knobs{Err: ra.Fail(ra.UpstreamDown, "down: token abc", nil)}, 503, "upstream_down"},
		{"the CA is busy", ratest.Knobs{Err: ra.Fail(ra.Busy, "busy", nil)}, 503, "busy"},
		{"the CA refuses", ratest.Knobs{Err: ra.Fail(ra.UpstreamRefused, "no", nil)}, 502, "upstream_refused"},
		{"the CA is too slow", ratest.Knobs{Err: ra.Fail(ra.UpstreamTimeout, "slow", nil)}, 504, "upstream_timeout"},
		{"the CA issues another certificate", ratest.Knobs{Sign: new(ratest.NewRoot(t, "Other"))}, 502, "nonconforming"},
	}
	x := newSite(t)
	if g := x.do(call{user: right}); g.StatusCode != 200 {
		t.Fatal(g.StatusCode, g.body)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			x.ca.Set(c.knobs)
			g := x.do(call{user: right})
			if g.StatusCode != c.status || strings.Contains(g.body, "token") {
				t.Fatalf("%d %q, want %d", g.StatusCode, g.body, c.status)
			}
			record, _ := x.last(g.Header.Get("X-Request-Id"))
			if string(record.Kind) != c.kind || record.Upstream == nil || record.Input == nil || record.Serial == "" {
				t.Errorf("record %+v", record)
			}
		})
	}
}

func TestCACertsOfACAThatIsDown(t *testing.T) {
	x := newSite(t)
	x.ca.Set(ratest.Knobs{Down: true})
	g := x.do(call{method: "GET", path: "cacerts"})
	x.refused(t, g, 503, "upstream_down", "try again later")
	if g.Header.Get("Retry-After") == "0" {
		t.Error("come again at once")
	}
}

func TestCACertsWhenAllHasEndedIsForLater(t *testing.T) {
	x := newSite(t)
	now := time.Now()
	x.Authority.CAs["test"].Now = func() time.Time { return now }
	if g := x.do(call{method: "GET", path: "cacerts"}); g.StatusCode != 200 {
		t.Fatal(g.StatusCode, g.body)
	}
	now = x.ca.Root.Certificate.NotAfter.Add(time.Hour)
	x.refused(t, x.do(call{method: "GET", path: "cacerts"}), 503, "upstream_down", "try again later")
}

func TestConcurrencyIsBounded(t *testing.T) {
	x := newSite(t, func(x *site) { x.Limits.Concurrency, x.Limits.Patience = 1, soon })
	inside, leave := make(chan bool), make(chan bool)
	x.ca.Set(ratest.Knobs{Mutate: func(*x509.Certificate) { inside <- true; <-leave }})
	done := make(chan got)
	go func() { done <- x.do(call{user: right}) }()
	<-inside
	x.refused(t, x.do(call{user: right}), 503, "busy", "try again later")
	if g := x.do(call{method: "GET", path: "cacerts"}); g.StatusCode != 200 {
		t.Errorf("%d for /cacerts, which has places of its own", g.StatusCode)
	}
	if g := x.do(call{}); g.StatusCode != 401 {
		t.Errorf("%d for nobody, who needs no place", g.StatusCode)
	}
	leave <- true
	if g := <-done; g.StatusCode != 200 {
		t.Errorf("%d for the one inside", g.StatusCode)
	}
	x.ca.Set(ratest.Knobs{})
	if g := x.do(call{user: right}); g.StatusCode != 200 {
		t.Errorf("%d after it left", g.StatusCode)
	}
}

// Anybody may ask for /cacerts, and waits there for a CA that doesn't answer.
func TestThreat_StrangersTakeNoPlaceOfADevice(t *testing.T) {
	x := newSite(t, func(x *site) { x.Limits.Concurrency, x.Limits.Patience = 1, soon })
	x.opening.Do(x.open)
	leave, err := x.other.Enter(t.Context(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	for _, path := range []string{"cacerts", "csrattrs"} {
		x.refused(t, x.do(call{method: "GET", path: path}), 503, "busy", "try again later")
	}
	if g := x.do(call{user: right}); g.StatusCode != 200 {
		t.Errorf("%d for a device", g.StatusCode)
	}
}
