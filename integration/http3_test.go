// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// overHTTP3 posts a request over QUIC.
func overHTTP3(t *testing.T, s *site, op string, b64 []byte, change func(*tls.Config)) *http.Response {
	t.Helper()
	cfg := &tls.Config{RootCAs: s.pool("local"), ServerName: "localhost", MinVersion: tls.VersionTLS13}
	if change != nil {
		change(cfg)
	}
	tr := &http3.Transport{TLSClientConfig: cfg}
	t.Cleanup(func() { _ = tr.Close() })
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url(op), bytes.NewReader(b64))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	req.SetBasicAuth(user, password)
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}
