// SPDX-License-Identifier: Apache-2.0

package ejbca

import (
	"testing"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/ejbca/ejbcatest"
)

func TestACACertificateThatIsNewIsServed(t *testing.T) {
	f, u, _ := fake(t, func(c *Config) { c.Timeout = DefaultTimeout })
	next := f.CA.Root.Sub(t, "Next Issuing CA")
	ratest.ServesNext(t, u, f.CA.Root.Certificate, next.Certificate, func() {
		f.Change(func(f *ejbcatest.Fake) {
			f.AnyCertificate = true // ours is of the one before
			f.CA = &ratest.CA{Root: f.CA.Root, Intermediate: next}
		})
	})
}
