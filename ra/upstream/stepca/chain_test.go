// SPDX-License-Identifier: Apache-2.0

package stepca_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-est/estra/ra/ratest"
)

func TestAnIntermediateThatIsNewIsServed(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	var intermediate atomic.Pointer[x509.Certificate]
	intermediate.Store(root.Sub(t, "Intermediate").Certificate)
	up, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		c := root.Certificate
		if strings.HasSuffix(r.URL.Path, "/intermediates") {
			c = intermediate.Load()
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
		_ = json.NewEncoder(w).Encode(map[string][]string{"crts": {string(text)}})
	})
	next := root.Sub(t, "Next Intermediate").Certificate
	ratest.ServesNext(t, up, root.Certificate, next, func() { intermediate.Store(next) })
}
