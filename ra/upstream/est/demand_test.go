// SPDX-License-Identifier: Apache-2.0

package est_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/csrattrs"
	"github.com/caddy-est/estra/ra/upstream/est"
	"github.com/caddy-est/estra/ra/wire"
)

func TestWhatTheServersCSRAttrsMean(t *testing.T) {
	der, err := csrattrs.Encode(policy.Hints{Format: policy.HintBoth, Keys: []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}}})
	if err != nil {
		t.Fatal(err)
	}
	body := string(wire.EncodeBody(der, false))
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    string
		says    string // of an error
	}{
		"a list with a template":      {answers(200, wire.TypeCSRAttrs, body), "keys ECDSA P-384", ""},
		"an empty list":               {answers(200, wire.TypeCSRAttrs, "MAA="), "nothing", ""},
		"nothing to say":              {answers(204, "", ""), "nothing", ""},
		"no such operation":           {answers(404, "text/plain", "no"), "nothing", ""},
		"no such method":              {answers(405, "", ""), "nothing", ""},
		"it isn't made":               {answers(501, "", ""), "nothing", ""},
		"another type":                {answers(200, "text/html", "<p>"), "", "text/html"},
		"garbage":                     {answers(200, wire.TypeCSRAttrs, "!!!"), "", "can't be read"},
		"DER of something else":       {answers(200, wire.TypeCSRAttrs, "BAA="), "", "not a SEQUENCE"},
		"a template that is broken":   {answers(200, wire.TypeCSRAttrs, "MBIwEAYLKoZIhvcNAQkQAj0xAQU="), "", "can't be read"},
		"more than 64 KiB":            {answers(200, wire.TypeCSRAttrs, strings.Repeat("A", 64<<10+1)), "", "more than 65536 bytes"},
		"a failure":                   {answers(500, "text/plain", "no\x1b"), "", `answered 500: no\x1b`},
		"a gateway that gave it up":   {answers(504, "", ""), "", "answered 504"},
		"a refusal":                   {answers(403, "", ""), "", "answered 403"},
		"a connection that breaks":    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "", "failed"},
		"a redirect is none of ours":  {answers(302, "", "", "Location", "https://127.0.0.1:1/"), "", "sends us to"},
		"a decision that comes later": {answers(202, "", ""), "", "202"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			asked := ""
			s.set(func(w http.ResponseWriter, r *http.Request) {
				asked = r.Method + " " + r.URL.Path
				c.handler(w, r)
			})
			got, err := s.open(func(cfg *est.Config) { cfg.Label = "routers" }).Demand(t.Context())
			if asked != "GET /.well-known/est/routers/csrattrs" {
				t.Errorf("it asked %s", asked)
			}
			if c.says == "" {
				if err != nil || got.String() != c.want {
					t.Errorf("%v, %v, want %s", got, err, c.want)
				}
				return
			}
			var e *ra.Error
			if !errors.As(err, &e) || e.Kind != ra.UpstreamDown || !strings.Contains(e.Text(), c.says) || !got.Empty() {
				t.Errorf("%v, %v, want %q", got, err, c.says)
			}
		})
	}
}

// A server that wants to know who asks is told, once there is a certificate.
func TestCSRAttrsAreAskedWithOurCertificateWhereThereIsOne(t *testing.T) {
	s := serve(t)
	shown := -1
	s.set(func(w http.ResponseWriter, r *http.Request) {
		shown = len(r.TLS.PeerCertificates)
		w.WriteHeader(http.StatusNoContent)
	})
	for want, there := range []bool{false, true} {
		up := s.open(func(c *est.Config) {
			c.Certificate = func() (*tls.Certificate, error) {
				if !there {
					return nil, errors.New("it is being obtained")
				}
				return &s.ra, nil
			}
		})
		if _, err := up.Demand(t.Context()); err != nil {
			t.Error(err)
		}
		if (shown > 0) != (want > 0) {
			t.Errorf("with a certificate %t, %d were shown", there, shown)
		}
	}
}
