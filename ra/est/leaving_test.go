// SPDX-License-Identifier: Apache-2.0

package est

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
)

// A server that another one takes the place of closes the connections that it
// answers on, but for HTTP/3, where that is invalid.
func TestAServerThatLeavesClosesItsConnections(t *testing.T) {
	var leaves atomic.Bool
	x := newSite(t, func(x *site) { x.Leaving = leaves.Load })
	for _, leaving := range []bool{false, true, false} {
		leaves.Store(leaving)
		for major, proto := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2.0", 3: "HTTP/3.0"} {
			for _, path := range []string{"/cacerts", "/none"} {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, root+path, nil)
				r.Proto, r.ProtoMajor = proto, major
				w := httptest.NewRecorder()
				x.Serve(w, r, Incoming{})
				want := ""
				if leaving && major < 3 {
					want = "close"
				}
				if got := w.Header().Get("Connection"); got != want {
					t.Errorf("%s %s, leaving %t: Connection %q, want %q", proto, path, leaving, got, want)
				}
			}
		}
	}
}
