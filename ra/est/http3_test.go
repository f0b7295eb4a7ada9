// SPDX-License-Identifier: Apache-2.0

package est

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// On HTTP/3, as on the others, a slow or endless body costs its own request.
func TestSlowBodiesOnHTTP3(t *testing.T) {
	x := newSite(t, func(x *site) { x.Limits.BodyTimeout = soon })
	client, _ := x.third(t)
	post := func(path, user string, body io.Reader) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "https://est.example"+root+"/"+path, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/pkcs10")
		req.SetBasicAuth(user, "estpwd")
		res, err := client.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(text)
	}
	for name, c := range map[string]struct {
		path, user, sent string
		status           int
	}{
		"a body that stops":                    {"simpleenroll", "estuser", "MII", 400},
		"a body that never comes":              {"simpleenroll", "estuser", "", 400},
		"3 MB without a length":                {"simpleenroll", "estuser", strings.Repeat("A", 3<<20), 413},
		"nobody's body that never comes":       {"simpleenroll", "nobody", "", 401},
		"a wrong path's body that never comes": {"none", "estuser", "", 404},
	} {
		t.Run(name, func(t *testing.T) {
			r, w := io.Pipe()
			defer w.Close()
			go func() { _, _ = io.WriteString(w, c.sent) }()
			begun := time.Now()
			if status, text := post(c.path, c.user, r); status != c.status {
				t.Errorf("%d %q, want %d", status, text, c.status)
			}
			if took := time.Since(begun); took > 3*time.Second {
				t.Errorf("the answer took %s", took)
			}
		})
	}
	if status, text := post("simpleenroll", "estuser", strings.NewReader(csrBody(t))); status != 200 {
		t.Errorf("a good request on the same connection: %d %q", status, text)
	}
}
