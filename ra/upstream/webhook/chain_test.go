// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/x509"
	"encoding/json"
	"testing"

	"github.com/caddy-est/estra/ra/ratest"
)

func TestACACertificateThatIsNewIsServed(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	s := serviceOf(t, func(c *Config) { c.TLSRoots, c.Roots = c.Roots, []*x509.Certificate{root.Certificate} })
	publish := func(certs ...*x509.Certificate) {
		text := ""
		for _, c := range certs {
			text += pemOf(c)
		}
		answer, err := json.Marshal(cacertsAnswer{text})
		if err != nil {
			t.Fatal(err)
		}
		s.text = string(answer)
	}
	first, next := root.Sub(t, "Issuing CA").Certificate, root.Sub(t, "Next Issuing CA").Certificate
	publish(first)
	ratest.ServesNext(t, s, root.Certificate, next, func() { publish(next) })
}
