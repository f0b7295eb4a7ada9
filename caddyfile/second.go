// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"strings"

	"github.com/caddy-est/estra/module"
)

const secondUsage = "`second_certificate CERTIFICATE KEY`, two files, or `second_certificate from UPSTREAM { key URI  validity DURATION }`"

func (o *options) cacertsTLS() error {
	files := o.h.RemainingArgs()
	if len(files) == 0 {
		return o.h.Errf("cacerts_tls needs at least one file")
	}
	o.into.CACertsTLS = append(o.into.CACertsTLS, files...)
	return nil
}

func (o *options) secondCertificate() error {
	o.secondAt = *o.h.Dispenser
	args := o.h.RemainingArgs()
	if len(args) != 2 {
		return o.h.Errf("second_certificate: %q is not %s", strings.Join(args, " "), secondUsage)
	}
	if args[0] == "from" {
		own, err := o.issuedBy("second_certificate", args[1])
		o.into.SecondCertificate = &module.SecondCertificate{Own: own}
		return err
	}
	if o.h.NextBlock(o.h.Nesting()) {
		return o.h.Errf("second_certificate of files takes no block")
	}
	o.into.SecondCertificate = &module.SecondCertificate{Certificate: args[0], Key: args[1]}
	return nil
}
