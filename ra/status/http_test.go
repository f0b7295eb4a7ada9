// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/caddy-est/estra/ra/ocsp"
	"github.com/caddy-est/estra/ra/status"
	"github.com/caddy-est/estra/ra/store"
)

func ask(t testing.TB, cert, issuer *x509.Certificate) []byte {
	t.Helper()
	der, err := xocsp.CreateRequest(cert, issuer, &xocsp.RequestOptions{Hash: crypto.SHA1})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// call asks the CA, and is nil where the path isn't its own.
func (f *fixture) call(method, path string, body []byte, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	if !f.Serve(w, r) {
		return nil
	}
	return w.Result()
}

func (f *fixture) post(body []byte) *http.Response {
	return f.call("POST", "/ocsp/est", body, "Content-Type", ocsp.RequestType)
}

func bodyOf(t testing.TB, r *http.Response) []byte {
	t.Helper()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestPathsOfOthersArePassedOn(t *testing.T) {
	f := start(t)
	id := keyOf(f.first).ID()
	for path, want := range map[string]int{
		"/crl/est.crl": 200, "/crl/est/" + id + ".crl": 200,
		"/crl/est/00.crl": 404, "/crl/est/..%2f..%2fx.crl": 404, "/crl/est/" + strings.ToUpper(id) + ".crl": 404,
		"/ocsp/est": 405, "/ocsp/est/": 405, "/ocsp/est/bm9wZQ==": 200,
		"/crl/other.crl": 0, "/crl/": 0, "/crl/est": 0, "/crl/est/.crl": 0, "/crl/esta.crl": 0, "/ocsp/other": 0, "/ocsp/estb": 0, "/": 0, "/.well-known/est/cacerts": 0,
	} {
		got := 0
		if r := f.call("GET", path, nil); r != nil {
			got = r.StatusCode
		}
		if got != want {
			t.Errorf("GET %s is %d, want %d", path, got, want)
		}
	}
	for path, method := range map[string]string{"/crl/est.crl": "POST", "/ocsp/est": "PUT", "/ocsp/est/AAAA": "POST"} {
		if r := f.call(method, path, nil); r.StatusCode != 405 || r.Header.Get("Allow") == "" {
			t.Errorf("%s %s is %d", method, path, r.StatusCode)
		}
	}
}

func TestAListIsServedForCaches(t *testing.T) {
	f := start(t)
	r := f.call("GET", "/crl/est.crl", nil)
	list, err := x509.ParseRevocationList(bodyOf(t, r))
	if err != nil || list.CheckSignatureFrom(f.first.Certificate) != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Content-Type":  "application/pkix-crl",
		"Cache-Control": "max-age=300, public, no-transform, must-revalidate",
		"Last-Modified": "Sun, 01 Nov 2026 12:00:00 GMT",
		"Expires":       "Sun, 08 Nov 2026 12:00:00 GMT",
		"Etag":          `"` + list.Number.String() + `"`,
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if again := f.call("GET", "/crl/est.crl", nil, "If-None-Match", r.Header.Get("ETag")); again.StatusCode != 304 {
		t.Errorf("the same list is sent once more: %d", again.StatusCode)
	}
	if head := f.call("HEAD", "/crl/est.crl", nil); head.StatusCode != 200 || len(bodyOf(t, head)) > 0 {
		t.Errorf("HEAD is %d", head.StatusCode)
	}
	f.revoke(t, f.issue(t, f.first, 5), 1)
	if again := f.call("GET", "/crl/est.crl", nil, "If-None-Match", r.Header.Get("ETag")); again.StatusCode != 200 {
		t.Errorf("the list after a revocation is %d", again.StatusCode)
	}
}

func TestAnOCSPAnswerSaysGoodRevokedOrUnknown(t *testing.T) {
	f := start(t)
	good, revoked, old := f.issue(t, f.first, 1), f.issue(t, f.first, 2), f.issue(t, f.former, 3)
	never := f.first.Sign(t, &x509.Certificate{SerialNumber: big.NewInt(4), NotBefore: begin, NotAfter: begin.Add(time.Hour)}, f.first.Key.Public())
	f.revoke(t, revoked, 4)
	f.revoke(t, old, 1)
	for name, test := range map[string]struct {
		cert, issuer *x509.Certificate
		status       int
		reason       int
	}{
		"good":                    {good, f.first.Certificate, xocsp.Good, 0},
		"revoked":                 {revoked, f.first.Certificate, xocsp.Revoked, 4},
		"revoked by a former key": {old, f.former.Certificate, xocsp.Revoked, 1},
		"never issued":            {never, f.first.Certificate, xocsp.Unknown, 0},
	} {
		t.Run(name, func(t *testing.T) {
			der := ask(t, test.cert, test.issuer)
			text := base64.StdEncoding.EncodeToString(der)
			for how, r := range map[string]*http.Response{
				"POST":                f.post(der),
				"GET":                 f.call("GET", "/ocsp/est/"+url.QueryEscape(text), nil),
				"GET, slashes as are": f.call("GET", "/ocsp/est/"+text, nil),
			} {
				got, err := xocsp.ParseResponseForCert(bodyOf(t, r), test.cert, test.issuer)
				if err != nil {
					t.Fatalf("%s: %v", how, err)
				}
				if got.Status != test.status || got.RevocationReason != test.reason || r.Header.Get("Content-Type") != ocsp.AnswerType {
					t.Errorf("%s: got %d for %d, %q", how, got.Status, got.RevocationReason, r.Header.Get("Content-Type"))
				}
				caches := "max-age=300, public, no-transform, must-revalidate"
				if how == "POST" {
					caches = "no-store"
				}
				if r.Header.Get("Cache-Control") != caches || (r.Header.Get("Expires") == "") != (how == "POST") {
					t.Errorf("%s: caches are told %q, Expires %q", how, r.Header.Get("Cache-Control"), r.Header.Get("Expires"))
				}
			}
		})
	}
}

func TestWhatCannotBeAnsweredHasAnErrorThatNobodySigns(t *testing.T) {
	f := start(t)
	cert := f.issue(t, f.first, 1)
	stranger := start(t)
	refused := func(what string, r *http.Response, want xocsp.ResponseStatus) {
		t.Helper()
		_, err := xocsp.ParseResponse(bodyOf(t, r), nil)
		var got xocsp.ResponseError
		if !errors.As(err, &got) || got.Status != want || r.StatusCode != 200 || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v, %d, %q", what, err, r.StatusCode, r.Header.Get("Cache-Control"))
		}
	}
	refused("no request", f.post([]byte("what?")), xocsp.Malformed)
	refused("an empty request", f.post(nil), xocsp.Malformed)
	refused("no base64", f.call("GET", "/ocsp/est/no!base64", nil), xocsp.Malformed)
	refused("far too much of it", f.call("GET", "/ocsp/est/"+strings.Repeat("A", 5*ocsp.MaxRequest), nil), xocsp.Malformed)
	refused("another CA's certificate", f.post(ask(t, cert, stranger.first.Certificate)), xocsp.Unauthorized)
	if r := f.post(make([]byte, ocsp.MaxRequest+1)); r.StatusCode != 413 {
		t.Errorf("too large a request is %d", r.StatusCode)
	}
	if r := f.call("POST", "/ocsp/est", ask(t, cert, f.first.Certificate), "Content-Type", "text/plain"); r.StatusCode != 415 {
		t.Errorf("another media type is %d", r.StatusCode)
	}
	broken := with(t, brokenStore{})
	broken.first, broken.keys = f.first, f.keys
	refused("the store is away", broken.post(ask(t, cert, f.first.Certificate)), xocsp.TryLater)
	if r := broken.call("GET", "/crl/est.crl", nil); r.StatusCode != 503 || r.Header.Get("Retry-After") == "" {
		t.Errorf("without a store the list is %d", r.StatusCode)
	}
	broken.broken = errors.New("no key")
	refused("the keys are away", broken.post(ask(t, cert, f.first.Certificate)), xocsp.TryLater)
	if r := broken.call("GET", "/crl/est.crl", nil); r.StatusCode != 503 {
		t.Errorf("without a key the list is %d", r.StatusCode)
	}
}

// A brokenStore is one that can't be had.
type brokenStore struct{ status.Store }

func (brokenStore) Entry(context.Context, string, *big.Int) (store.CACertificate, error) {
	return store.CACertificate{}, errors.New("away")
}

func (brokenStore) List(context.Context, string, int64) (store.RevocationList, error) {
	return store.RevocationList{}, errors.New("away")
}

func (brokenStore) Revoke(context.Context, store.CACertificate) error { return errors.New("away") }

func TestWithoutAStoreNothingIsSaidToBeRevoked(t *testing.T) {
	f := start(t)
	cert := f.issue(t, f.first, 1)
	broken := with(t, brokenStore{})
	if _, err := broken.Revoked(t.Context(), cert); err == nil {
		t.Error("whether it is revoked is told without a store")
	}
	if broken.Revoke(t.Context(), cert, 1) == nil || broken.RevokeSerial(t.Context(), cert.SerialNumber, nil, time.Time{}, 1) == nil {
		t.Error("it was revoked without a store")
	}
}

func TestTheAddressesLeadToWhatTheyAreFor(t *testing.T) {
	f := start(t)
	f.Name = "Geräte 1"
	list, responder := f.URLs("http://pki.example.net", f.keys[1])
	for _, address := range []string{list, responder} {
		if parsed, err := url.Parse(address); err != nil || parsed.Host != "pki.example.net" {
			t.Errorf("%s: %v", address, err)
		}
	}
	at := func(address string) string { return strings.TrimPrefix(address, "http://pki.example.net") }
	r := f.call("GET", at(list), nil)
	if r == nil || r.StatusCode != 200 {
		t.Fatalf("%s is %v", list, r)
	}
	if parsed, err := x509.ParseRevocationList(bodyOf(t, r)); err != nil || parsed.CheckSignatureFrom(f.former.Certificate) != nil {
		t.Errorf("%s is another key's list: %v", list, err)
	}
	cert := f.issue(t, f.former, 1)
	r = f.call("POST", at(responder), ask(t, cert, f.former.Certificate), "Content-Type", ocsp.RequestType)
	if got, err := xocsp.ParseResponseForCert(bodyOf(t, r), cert, f.former.Certificate); err != nil || got.Status != xocsp.Good {
		t.Errorf("%s: %v, %v", responder, got, err)
	}
}

// Whatever stands in the path: there is an answer, and it is an OCSPResponse.
func FuzzServeOCSP(f *testing.F) {
	ca := start(f)
	cert := ca.issue(f, ca.first, 1)
	der := ask(f, cert, ca.first.Certificate)
	f.Add(base64.StdEncoding.EncodeToString(der))
	f.Add(url.QueryEscape(base64.StdEncoding.EncodeToString(der)))
	f.Add("%")
	f.Add("/../..")
	f.Fuzz(func(t *testing.T, encoded string) {
		r := httptest.NewRequest("GET", "/ocsp/est/x", nil)
		r.URL.RawPath = "" // what can't be a path is escaped as it would be
		r.URL.Path = "/ocsp/est/" + encoded
		w := httptest.NewRecorder()
		if !ca.Serve(w, r) {
			t.Fatal("it isn't ours")
		}
		if w.Code == 405 && encoded == "" {
			return
		}
		_, err := xocsp.ParseResponse(w.Body.Bytes(), ca.first.Certificate)
		var refusal xocsp.ResponseError
		if err != nil && !errors.As(err, &refusal) && !strings.Contains(err.Error(), "multiple responses") {
			t.Fatalf("%q: %d, %v", encoded, w.Code, err)
		}
	})
}
