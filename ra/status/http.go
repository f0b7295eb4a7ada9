// SPDX-License-Identifier: Apache-2.0

package status

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/caddy-est/estra/ra/ocsp"
	"github.com/caddy-est/estra/ra/store"
)

// CRLType is the media type of a CRL (RFC 2585 section 4.2).
const CRLType = "application/pkix-crl"

// maxAge is how long a cache may keep an answer: for so long nobody may hear of a
// revocation.
const maxAge = 5 * time.Minute

// mostAtOnce bounds the questions that are answered at once: who asks is a stranger,
// and each costs a look-up and a signature.
const mostAtOnce = 64

// The paths, under which the CA's name follows.
const (
	crlPath  = "/crl/"
	ocspPath = "/ocsp/"
)

// URLs are where a relying party finds the CRL of an issuing key, and the OCSP
// responder, under a base such as http://pki.example.net.
func (c *CA) URLs(base string, k Key) (crl, responder string) {
	name := url.PathEscape(c.Name)
	return base + crlPath + name + "/" + k.ID() + ".crl", base + ocspPath + name
}

// Serve answers a request for what this CA publishes, and is false where the path is
// none of its own:
//
//	GET  /crl/NAME.crl       the CRL of the key that issues now
//	GET  /crl/NAME/KEY.crl   that of any key
//	POST /ocsp/NAME          OCSP (RFC 6960 appendix A)
//	GET  /ocsp/NAME/BASE64   OCSP for caches (RFC 5019 section 5)
func (c *CA) Serve(w http.ResponseWriter, r *http.Request) bool {
	path, name := r.URL.EscapedPath(), url.PathEscape(c.Name)
	if rest, ok := strings.CutPrefix(path, crlPath+name); ok {
		if rest == ".crl" {
			c.serveList(w, r, "")
			return true
		}
		if id, ok := strings.CutSuffix(rest, ".crl"); ok && len(id) > 1 && id[0] == '/' {
			c.serveList(w, r, id[1:])
			return true
		}
		return false
	}
	rest, ok := strings.CutPrefix(path, ocspPath+name)
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return false
	case rest == "" || rest == "/":
		c.servePosted(w, r)
	default:
		c.serveGot(w, r, rest[1:])
	}
	return true
}

// only answers other methods, and says whether the request has one of these.
func only(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	http.Error(w, "this path takes "+strings.Join(methods, " and ")+" alone", http.StatusMethodNotAllowed)
	return false
}

func (c *CA) serveList(w http.ResponseWriter, r *http.Request, id string) {
	if !only(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	if id == "" {
		current, err := c.Keys.Current()
		if err != nil {
			unavailable(w)
			return
		}
		id = current.ID()
	}
	list, err := c.listed(r, id)
	switch {
	case errors.Is(err, ErrNoKey):
		http.Error(w, "this CA has no CRL of such an issuing key", http.StatusNotFound)
		return
	case err != nil:
		unavailable(w)
		return
	}
	h := w.Header()
	h.Set("Content-Type", CRLType)
	h.Set("ETag", strconv.Quote(strconv.FormatInt(list.Number, 10)))
	fresh(h, list.ThisUpdate, list.NextUpdate, c.now())
	http.ServeContent(w, r, "", list.ThisUpdate, bytes.NewReader(list.DER))
}

// listed asks the store for keys alone that there are: anybody may ask for any.
func (c *CA) listed(r *http.Request, id string) (store.RevocationList, error) {
	if _, err := c.key(r.Context(), id); err != nil && (!errors.Is(err, ErrNoKey) || !isKeyID(id)) {
		return store.RevocationList{}, err
	}
	return c.list(r.Context(), id, true)
}

// isKeyID tells whether a text may name a key: RFC 5280 section 4.2.1.2 has 20
// octets, and others fewer or somewhat more.
func isKeyID(id string) bool {
	return id != "" && len(id) <= 128 && strings.Trim(id, "0123456789abcdef") == ""
}

func unavailable(w http.ResponseWriter) {
	w.Header().Set("Retry-After", "10")
	http.Error(w, "the CA's store or key can't be had just now", http.StatusServiceUnavailable)
}

// fresh tells caches how long to keep an answer (RFC 5019 section 6.2).
func fresh(h http.Header, this, next, now time.Time) {
	age := min(maxAge, max(next.Sub(now), 0))
	h.Set("Cache-Control", fmt.Sprintf("max-age=%d, public, no-transform, must-revalidate", int(age/time.Second)))
	h.Set("Last-Modified", this.UTC().Format(http.TimeFormat))
	h.Set("Expires", next.UTC().Format(http.TimeFormat))
}

func (c *CA) servePosted(w http.ResponseWriter, r *http.Request) {
	if !only(w, r, http.MethodPost) {
		return
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != ocsp.RequestType {
		http.Error(w, "an OCSP request has the Content-Type "+ocsp.RequestType, http.StatusUnsupportedMediaType)
		return
	}
	request, err := io.ReadAll(http.MaxBytesReader(w, r.Body, ocsp.MaxRequest))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			http.Error(w, fmt.Sprintf("an OCSP request has at most %d octets", ocsp.MaxRequest), http.StatusRequestEntityTooLarge)
		}
		return // else the client is gone
	}
	c.say(w, r, request)
}

// serveGot answers the form for caches: base64 in the path, where each of its
// characters may be escaped, and a client may have left the slash as it is.
func (c *CA) serveGot(w http.ResponseWriter, r *http.Request, encoded string) {
	if !only(w, r, http.MethodGet, http.MethodHead) {
		return
	}
	c.say(w, r, decoded(encoded))
}

// decoded is nil, which is no request, for what isn't base64.
func decoded(encoded string) []byte {
	if len(encoded) > 4*ocsp.MaxRequest {
		return nil
	}
	text, err := url.PathUnescape(encoded)
	if err != nil {
		return nil
	}
	request, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil
	}
	return request
}

func (c *CA) say(w http.ResponseWriter, r *http.Request, request []byte) {
	a := refusal(xocsp.TryLaterErrorResponse)
	if leave, ok := c.enter(); ok {
		a = c.answer(r.Context(), request)
		leave()
	}
	h := w.Header()
	h.Set("Content-Type", ocsp.AnswerType)
	h.Set("Content-Length", strconv.Itoa(len(a.der)))
	if a.own || r.Method == http.MethodPost {
		h.Set("Cache-Control", "no-store")
	} else {
		fresh(h, a.this, a.next, c.now())
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.der) // the client may be gone
	}
}

// enter takes one of the places, if there is one.
func (c *CA) enter() (leave func(), ok bool) {
	c.mu.Lock()
	if c.busy == nil {
		c.busy = make(chan struct{}, mostAtOnce)
	}
	c.mu.Unlock()
	select {
	case c.busy <- struct{}{}:
		return func() { <-c.busy }, true
	default:
		return nil, false
	}
}
