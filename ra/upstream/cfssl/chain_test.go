// SPDX-License-Identifier: Apache-2.0

package cfssl

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
)

func TestASignerThatIsNewIsServed(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	var signer atomic.Pointer[x509.Certificate]
	signer.Store(root.Sub(t, "Issuing CA").Certificate)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signer.Load().Raw})
		_ = json.NewEncoder(w).Encode(map[string]any{"success": true, "result": map[string]any{"certificate": string(text), "usages": []string{"signing"}}})
	}))
	t.Cleanup(s.Close)
	u, err := New(Config{
		URL: s.URL, Roots: []*x509.Certificate{root.Certificate}, TLSRoots: []*x509.Certificate{s.Certificate()},
		Key: func() (secret.Bytes, error) { return ParseKey("00ff") },
	})
	if err != nil {
		t.Fatal(err)
	}
	next := root.Sub(t, "Next Issuing CA").Certificate
	ratest.ServesNext(t, u, root.Certificate, next, func() { signer.Store(next) })
}
