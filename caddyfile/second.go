// SPDX-License-Identifier: Apache-2.0

package caddyfile

import "github.com/caddy-est/estra/module"

func (o *options) cacertsTLS() error {
	files := o.h.RemainingArgs()
	if len(files) == 0 {
		return o.h.Errf("cacerts_tls needs at least one file")
	}
	o.into.CACertsTLS = append(o.into.CACertsTLS, files...)
	return nil
}

func (o *options) secondCertificate() error {
	c := &module.SecondCertificate{}
	if !o.h.AllArgs(&c.Certificate, &c.Key) {
		return o.h.Errf("second_certificate takes two files: `second_certificate CERTIFICATE KEY`")
	}
	o.into.SecondCertificate = c
	return nil
}
