// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/wire"
)

// unlinked sends what a device does that knows nothing of linking. Our own
// client can't be it: it does as /csrattrs says.
func (d *demoDevice) unlinked(ctx context.Context) ([]string, error) {
	key, wanted, err := newRequest()
	if err != nil {
		return nil, err
	}
	der, err := estclient.Request(rand.Reader, key, wanted, "")
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.server.url+"/.well-known/est/simpleenroll", bytes.NewReader(wire.EncodeBody(der, false)))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", wire.TypePKCS10)
	req.SetBasicAuth("", string(d.password.Text))
	roots := x509.NewCertPool()
	roots.AddCert(d.root)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1024))
	if err != nil {
		return nil, err
	}
	how := resp.Header.Get(binding.HeaderRequired)
	if resp.StatusCode != http.StatusForbidden || how != binding.TLSExporter {
		return nil, fmt.Errorf("the answer is %s with %s %q: %s", resp.Status, binding.HeaderRequired, how, text)
	}
	d.asked = append(d.asked, resp.Header.Get("X-Request-Id"))
	return []string{
		fmt.Sprintf("answer    %d %s", resp.StatusCode, strings.TrimSpace(string(text))),
		fmt.Sprintf("header    %s: %s", binding.HeaderRequired, how),
		"Linked, a request is good on its own connection alone: nobody between can pass it on",
		"as theirs, and the server knows that who has the password has the key, too.",
	}, nil
}

// overreach asks for a name that the policy doesn't have.
func (d *demoDevice) overreach(ctx context.Context) ([]string, error) {
	lines, id, err := d.refused(ctx, "www.example.com")
	if err != nil {
		return nil, err
	}
	record, _, err := d.server.record(ctx, id)
	if err != nil {
		return nil, err
	}
	reasons := findings(record)
	if len(reasons) == 0 {
		return nil, errors.New("the audit record has no finding")
	}
	return append(lines, reasons...), nil
}

// stolen presents the password with another key, for the very names that it
// was made for.
func (d *demoDevice) stolen(ctx context.Context) ([]string, error) {
	lines, id, err := d.refused(ctx)
	if err != nil {
		return nil, err
	}
	record, _, err := d.server.record(ctx, id)
	if err != nil {
		return nil, err
	}
	return append(lines, "reason    "+string(record.Reason)), nil
}

// refused asks with a new key, and wants a refusal.
func (d *demoDevice) refused(ctx context.Context, more ...string) (lines []string, id string, err error) {
	key, wanted, err := newRequest(more...)
	if err != nil {
		return nil, "", err
	}
	_, err = d.client.Enroll(ctx, key, wanted)
	var answer *estclient.StatusError
	switch {
	case err == nil:
		return nil, "", errors.New("a certificate was issued")
	case !errors.As(err, &answer) || answer.Status != http.StatusForbidden:
		return nil, "", err
	}
	d.asked = append(d.asked, answer.RequestID)
	return []string{fmt.Sprintf("answer    %d %s", answer.Status, answer.Text)}, answer.RequestID, nil
}
