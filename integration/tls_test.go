// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/tls"
	"fmt"
	"testing"
)

// RFC 8996 section 5 ends TLS 1.0 and 1.1, RFC 7030 section 6 asks for no weak
// suite; Caddy's defaults hold both, and nothing that `est` does loosens them.
func TestOldVersionsOfTLSAndWeakSuitesAreRefused(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	var weak []uint16
	for _, suite := range tls.InsecureCipherSuites() {
		weak = append(weak, suite.ID)
	}
	for name, c := range map[string]struct {
		least, most uint16
		suites      []uint16
		taken       bool
	}{
		"TLS 1.3":             {tls.VersionTLS13, tls.VersionTLS13, nil, true},
		"TLS 1.2":             {tls.VersionTLS12, tls.VersionTLS12, nil, true},
		"TLS 1.1":             {tls.VersionTLS10, tls.VersionTLS11, nil, false},
		"TLS 1.0":             {tls.VersionTLS10, tls.VersionTLS10, nil, false},
		"TLS 1.2, weak alone": {tls.VersionTLS12, tls.VersionTLS12, weak, false},
	} {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), &tls.Config{
			ServerName: "localhost", RootCAs: s.tlsPool(), MinVersion: c.least, MaxVersion: c.most, CipherSuites: c.suites,
		})
		if (err == nil) != c.taken {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}
