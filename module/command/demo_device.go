// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/csrattrs"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/store"
)

// A story prints one line for each step.
type story struct {
	out   io.Writer
	steps int
}

// tell does a step, and prints its title, its outcome and its details.
func (s *story) tell(ctx context.Context, title string, do func(context.Context) ([]string, error)) error {
	s.steps++
	fmt.Fprintf(s.out, "%d. %s ... ", s.steps, title)
	details, err := do(ctx)
	if err != nil {
		fmt.Fprintln(s.out, "failed")
		return fmt.Errorf("step %d: %w", s.steps, err)
	}
	fmt.Fprintln(s.out, "ok")
	for _, line := range details {
		fmt.Fprintln(s.out, "   "+line)
	}
	return nil
}

// A demoDevice plays the steps of the demonstration and remembers what it
// has learned.
type demoDevice struct {
	server  *demoServer
	root    *x509.Certificate
	client  *estclient.Client
	key     crypto.Signer
	current *estclient.Enrolled
	// asked are the request ids of the enrolments, in their order.
	asked []string

	password store.Created
}

const demoName = "device-1.devices.example.net"

func (d *demoDevice) start(ctx context.Context) ([]string, error) {
	if err := d.server.start(ctx); err != nil {
		return nil, err
	}
	return []string{
		"server    " + d.server.url,
		"files     " + d.server.folder + " (Caddyfile, policy.yaml, audit.log)",
	}, nil
}

func (d *demoDevice) operator(context.Context) ([]string, error) {
	root, err := readCertificate(d.server.file("data", "caddy", "pki", "authorities", "est", "root.crt"))
	if err != nil {
		return nil, err
	}
	d.root = root
	return []string{"root      " + subjectOf(root), "SHA-256   " + fingerprint(root)}, nil
}

func (d *demoDevice) bootstrap(ctx context.Context) ([]string, error) {
	accept, err := estclient.AcceptFingerprint(fingerprint(d.root))
	if err != nil {
		return nil, err
	}
	d.client = &estclient.Client{URL: d.server.url, UserAgent: "estra-demo", Link: true}
	if err := d.client.Bootstrap(ctx, accept); err != nil {
		return nil, err
	}
	d.client.Basic = &estclient.Credentials{Password: d.password.Text}
	certs, err := d.client.CACerts(ctx)
	if err != nil {
		return nil, err
	}
	lines := []string{"The fingerprints are equal. From here on the server must verify under this root."}
	for _, cert := range certs {
		lines = append(lines, "CA        "+subjectOf(cert)+", until "+day(cert.NotAfter))
	}
	return lines, nil
}

func (d *demoDevice) attributes(ctx context.Context) ([]string, error) {
	list, err := d.client.CSRAttrs(ctx)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, key := range csrattrs.Keys(list) {
		size := key.Curve
		if size == "" {
			size = strconv.Itoa(key.Bits)
		}
		lines = append(lines, fmt.Sprintf("key       %s %s", key.Algorithm, size))
	}
	wanted, err := csrattrs.Read(list)
	if err != nil {
		return nil, err
	}
	if len(lines) == 0 || !wanted.Asks(binding.ChallengePassword) {
		return nil, errors.New("the server names no key type, or doesn't ask for linking")
	}
	return append(lines, "attribute challengePassword: the value that links a request to its TLS channel"), nil
}

func (d *demoDevice) enroll(ctx context.Context) ([]string, error) {
	key, wanted, err := newRequest()
	if err != nil {
		return nil, err
	}
	done, err := d.client.Enroll(ctx, key, wanted)
	switch {
	case err != nil:
		return nil, err
	case done.Linked == "":
		return nil, errors.New("the request wasn't linked")
	}
	d.key = key
	state, err := d.passwordState(ctx)
	if err != nil {
		return nil, err
	}
	return append(d.took(done),
		"linked    by "+done.Linked+" of this connection, in challengePassword",
		"password  "+state+" for this key and this name; the refusals left it as it was"), nil
}

// newRequest is a new key, and a request for the device's name and others. It
// is linked by challengePassword, as RFC 7030 section 3.5 has it.
func newRequest(more ...string) (crypto.Signer, estclient.Template, error) {
	key, err := makeKey("P-256")
	if err != nil {
		return nil, estclient.Template{}, err
	}
	wanted, err := template("CN="+demoName, append([]string{demoName}, more...))
	wanted.LinkBy = binding.ChallengePassword
	return key, wanted, err
}

// took keeps a certificate and gives its details.
func (d *demoDevice) took(done *estclient.Enrolled) []string {
	d.current = done
	d.asked = append(d.asked, done.RequestID)
	return details(done.Certificate)
}

func (d *demoDevice) renew(ctx context.Context) ([]string, error) {
	key, err := makeKey("P-384")
	if err != nil {
		return nil, err
	}
	old := tls.Certificate{PrivateKey: d.key}
	for _, cert := range d.current.Chain[:len(d.current.Chain)-1] {
		old.Certificate = append(old.Certificate, cert.Raw)
	}
	d.client.Basic = nil // the certificate is enough now
	done, err := d.client.Reenroll(ctx, old, key)
	if err != nil {
		return nil, err
	}
	d.key = key
	state, err := d.passwordState(ctx)
	if err != nil {
		return nil, err
	}
	return append(d.took(done), "password  "+state+": the device has shown that its first certificate arrived"), nil
}

// audit shows what was kept: each enrolment in a line, and then all of it.
func (d *demoDevice) audit(ctx context.Context) ([]string, error) {
	var lines, records []string
	for _, id := range d.asked {
		record, text, err := d.server.record(ctx, id)
		if err != nil {
			return nil, err
		}
		lines, records = append(lines, summary(record)), append(records, text)
	}
	return slices.Concat(lines, []string{"The records themselves, as they stand in audit.log:"}, records), nil
}
