// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/binding"
)

// A server may want linking and not say so in /csrattrs. Its refusal does.
func TestARefusalForWantOfLinkingIsActedOnAtOnce(t *testing.T) {
	ca := newAuthority(t, "Example")
	for _, test := range []struct {
		name    string
		version uint16
		link    bool
		status  int
		header  string // EST-Linking-Required
		posts   int
		linked  string // of the certificate that is had in the end
	}{
		{"over TLS 1.2", tls.VersionTLS12, false, 403, "tls-unique", 2, binding.TLSUnique},
		{"over TLS 1.3", tls.VersionTLS13, false, 403, "tls-exporter", 2, binding.TLSExporter},
		{"a request that was linked isn't made anew", tls.VersionTLS13, true, 403, "tls-exporter", 1, ""},
		{"another refusal stands", tls.VersionTLS13, false, 403, "", 1, ""},
		{"an unknown type of binding", tls.VersionTLS13, false, 403, "tls-server-end-point", 1, ""},
		{"another status", tls.VersionTLS13, false, 401, "tls-exporter", 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := serve(t, ca, ca.server(nil), test.version)
			posts := 0
			r.answer = func(w http.ResponseWriter, req *http.Request, s seen) bool {
				if req.Method != http.MethodPost {
					return false
				}
				posts++
				if posts > 1 && linking(t, s) == policy.Matched {
					return false
				}
				if test.header != "" {
					w.Header()[binding.HeaderRequired] = []string{test.header}
				}
				http.Error(w, "no", test.status)
				return true
			}
			c := r.client()
			c.Link, c.MaxVersion = test.link, test.version
			done, err := c.Enroll(context.Background(), newKey(t), device(t, "a.example"))
			if posts != test.posts || (err == nil) != (test.linked != "") {
				t.Fatalf("%d posts, error %v", posts, err)
			}
			if err == nil {
				if done.Linked != test.linked {
					t.Errorf("linked by %q", done.Linked)
				}
				sent := slices.DeleteFunc(slices.Clone(r.seen()), func(s seen) bool { return s.method != http.MethodPost })
				if linking(t, sent[0]) != policy.Absent || linking(t, sent[1]) != policy.Matched {
					t.Error("the second request isn't the first, made anew and linked")
				}
				return
			}
			refused, ok := errors.AsType[*StatusError](err)
			if !ok || refused.Status != test.status {
				t.Errorf("error %v", err)
			}
		})
	}
}

// Who asks for linking for ever gets one more request, and no loop.
func TestARequestIsMadeAnewOnce(t *testing.T) {
	ca := newAuthority(t, "Example")
	r := serve(t, ca, ca.server(nil), 0)
	posts := 0
	r.answer = func(w http.ResponseWriter, req *http.Request, _ seen) bool {
		if req.Method == http.MethodPost {
			posts++
			w.Header()[binding.HeaderRequired] = []string{binding.TLSExporter}
			w.WriteHeader(http.StatusForbidden)
		}
		return req.Method == http.MethodPost
	}
	_, err := r.client().Enroll(context.Background(), newKey(t), device(t, "a.example"))
	if refused, ok := errors.AsType[*StatusError](err); !ok || refused.LinkBy != binding.TLSExporter || posts != 2 {
		t.Errorf("%d posts, error %v", posts, err)
	}
}
