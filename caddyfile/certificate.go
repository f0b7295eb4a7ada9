// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/module"
)

const certificateUsage = "`certificate from UPSTREAM { key URI  validity DURATION }`, or `certificate off`"

// certificate reads where the site's own certificate comes from.
func (o *options) certificate() error {
	o.certificateAt = *o.h.Dispenser
	args := o.h.RemainingArgs()
	switch {
	case len(args) == 1 && args[0] == "off":
		if o.h.NextBlock(o.h.Nesting()) {
			return o.h.Errf("certificate off takes no block")
		}
		return nil
	case len(args) == 2 && args[0] == "from":
	default:
		return o.h.Errf("certificate: %q is not %s", strings.Join(args, " "), certificateUsage)
	}
	var err error
	o.into.Certificate, err = o.issuedBy("certificate", args[1])
	return err
}

// issuedBy reads the block of a certificate that an upstream issues to us.
func (o *options) issuedBy(option, upstream string) (*module.CertificateConfig, error) {
	c := &module.CertificateConfig{From: upstream}
	seen := map[string]int{}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		if err := o.once(seen); err != nil {
			return nil, err
		}
		if err := o.certificateOption(option, c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (o *options) certificateOption(option string, c *module.CertificateConfig) error {
	switch name := o.h.Val(); name {
	case "key":
		return o.one("key URI", &c.Key)
	case "validity":
		value := ""
		if err := o.one("validity DURATION", &value); err != nil {
			return err
		}
		d, err := caddy.ParseDuration(value)
		if err != nil || d <= 0 {
			return o.h.Errf("%s: validity %q is not a duration such as 90d", option, value)
		}
		c.Validity = caddy.Duration(d)
		return nil
	default:
		return o.unknown(option, name, []string{"key", "validity"})
	}
}

// ownCertificate adds what isn't written: the site's certificate comes from the
// first upstream, unless `client_certs off` leaves the site's TLS alone.
func (o *options) ownCertificate() error {
	names := []string{"internal"}
	if len(o.into.Upstreams) > 0 {
		names = nil
		for _, u := range o.into.Upstreams {
			names = append(names, u.Name)
		}
	}
	if second := o.into.SecondCertificate; second != nil && second.Own != nil {
		if !slices.Contains(names, second.Own.From) {
			return o.secondAt.Errf("second_certificate from %s: no upstream is named so; there is: %s", second.Own.From, strings.Join(names, ", "))
		}
		if first := o.into.Certificate; first != nil {
			return o.secondAt.Errf("second_certificate from %s: `certificate from %s` is for every client, and this would be for nobody: leave one of the two out", second.Own.From, first.From)
		}
	}
	if _, written := o.seen["certificate"]; !written {
		// With a second certificate the first is that of Caddy, for clients that
		// go by web trust.
		if o.into.ClientCerts != "off" && o.into.SecondCertificate == nil {
			o.into.Certificate = &module.CertificateConfig{From: names[0]}
		}
		return nil
	}
	if c := o.into.Certificate; c != nil && !slices.Contains(names, c.From) {
		return o.certificateAt.Errf("certificate from %s: no upstream is named so; there is: %s", c.From, strings.Join(names, ", "))
	}
	return nil
}
