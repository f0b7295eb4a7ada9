// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

// upstreamBlock reads the block of an upstream, as its messages call it.
type upstreamBlock struct {
	*caddyfile.Dispenser
	module string
}

// address reads the one argument that stands before the block.
func (b upstreamBlock) address(form string, into *string) error {
	if !b.NextArg() {
		return b.Errf("%s needs the address of the CA: `upstream %s %s { … }`", b.module, b.module, form)
	}
	*into = b.Val()
	if b.NextArg() {
		return b.Errf("%s takes one address; %q is too much", b.module, b.Val())
	}
	return nil
}

// read calls option for each option, of which none may stand twice.
func (b upstreamBlock) read(option func(upstreamBlock) error) error {
	seen := map[string]int{} // option -> line
	for nesting := b.Nesting(); b.NextBlock(nesting); {
		if line, twice := seen[b.Val()]; twice {
			return b.Errf("%s: %s stands twice: it is already on line %d", b.module, b.Val(), line)
		}
		seen[b.Val()] = b.Line()
		if err := option(b); err != nil {
			return err
		}
	}
	return nil
}

// addresses reads those of one CA, in the order in which they are asked. whose
// and form are for messages.
func (b upstreamBlock) addresses(whose, form string, first *string, others *[]string) error {
	all := b.RemainingArgs()
	if len(all) == 0 {
		return b.Errf("%s needs the address of %s: `upstream %s %s { … }`", b.module, whose, b.module, form)
	}
	*first = all[0]
	if len(all) > 1 {
		*others = all[1:]
	}
	return nil
}

// sayOfAddress logs which of several addresses isn't asked any more, and which
// is again.
func sayOfAddress(log *zap.Logger) func(host string, failure error) {
	return func(host string, failure error) {
		if failure != nil {
			log.Warn("an address of the CA fails again and again, and isn't asked for a while", zap.String("address", host), zap.Error(failure))
			return
		}
		log.Info("an address of the CA is well again", zap.String("address", host))
	}
}

// value reads the one value of an option, such as `FILE`.
func (b upstreamBlock) value(form string, into *string) error {
	name := b.Val()
	if !b.AllArgs(into) {
		return b.Errf("%s: %s takes exactly one value: `%s %s`", b.module, name, name, form)
	}
	return nil
}

// duration reads one that is positive.
func (b upstreamBlock) duration(example string, into *caddy.Duration) error {
	name, value := b.Val(), ""
	if !b.AllArgs(&value) {
		return b.Errf("%s: %s takes one duration, such as %s", b.module, name, example)
	}
	d, err := caddy.ParseDuration(value)
	if err != nil || d <= 0 {
		return b.Errf("%s: %s %q is not a duration such as %s", b.module, name, value, example)
	}
	*into = caddy.Duration(d)
	return nil
}

// number reads one that is positive.
func (b upstreamBlock) number(example string, into *int) error {
	name, value := b.Val(), ""
	if !b.AllArgs(&value) {
		return b.Errf("%s: %s takes one number, such as %s", b.module, name, example)
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return b.Errf("%s: %s %q is not a positive number", b.module, name, value)
	}
	*into = n
	return nil
}

// flag reads an option without a value.
func (b upstreamBlock) flag(into *bool) error {
	name := b.Val()
	if b.NextArg() {
		return b.Errf("%s: %s takes no value", b.module, name)
	}
	*into = true
	return nil
}

// loadRoots reads the roots that the operator trusts for a CA.
func loadRoots(file string) ([]*x509.Certificate, error) {
	roots, err := loadCertificates([]string{file})
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	for _, root := range roots {
		if !bytes.Equal(root.RawSubject, root.RawIssuer) {
			return nil, fmt.Errorf("root: %s: %q isn't a root certificate: %q has issued it", file, root.Subject.String(), root.Issuer.String())
		}
	}
	return roots, nil
}

// loadOptional reads the certificates of an option, where it is written.
func loadOptional(option, file string) ([]*x509.Certificate, error) {
	if file == "" {
		return nil, nil
	}
	certs, err := loadCertificates([]string{file})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", option, err)
	}
	return certs, nil
}

// firstEnd is when the first certificate of a chain ends.
func firstEnd(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, c := range chain[1:] {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}
