// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// parseSubject reads --subject, as csr.Name prints a name.
func parseSubject(text string) (csr.Name, error) {
	name, err := csr.ParseName(text)
	if err != nil {
		return nil, fmt.Errorf("subject %q: %w", text, err)
	}
	return name, nil
}

// parseSAN reads the --san flags, as csr.GeneralName prints a name: dns:NAME,
// upn:NAME and so on. Without a prefix, an address is an IP and anything else
// a DNS name.
func parseSAN(flags []string) ([]csr.GeneralName, error) {
	var names []csr.GeneralName
	for _, text := range flags {
		name, err := parseGeneralName(text)
		if err != nil {
			return nil, fmt.Errorf("--san %q: %w", text, err)
		}
		names = append(names, name)
	}
	return names, nil
}

func parseGeneralName(text string) (csr.GeneralName, error) {
	if _, err := netip.ParseAddr(text); err == nil {
		return csr.NewName(csr.IP, text)
	}
	if !strings.Contains(text, ":") {
		return csr.NewName(csr.DNS, text)
	}
	return csr.ParseGeneralName(text)
}
