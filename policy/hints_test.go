// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
	"testing"
)

// A linking value stands in challengePassword (RFC 7030 section 3.5) or in
// estIdentityLinking (RFC 7894): a device learns both names.
func TestHintsHaveBothLinkingAttributesWhereAnOperationRequiresOne(t *testing.T) {
	const who = "{who: [{http_basic: {users: [anna]}}], linking: "
	for name, test := range map[string]struct {
		operations string
		want       string
	}{
		"enroll requires it":      {"enroll: " + who + "required}", "1.2.840.113549.1.9.7 1.2.840.113549.1.9.16.2.58"},
		"reenroll alone does":     {"enroll: " + who + "if_present}\n    reenroll: " + who + "required}", "1.2.840.113549.1.9.7 1.2.840.113549.1.9.16.2.58"},
		"both do":                 {"enroll: " + who + "required}\n    reenroll: " + who + "required}", "1.2.840.113549.1.9.7 1.2.840.113549.1.9.16.2.58"},
		"neither does":            {"enroll: " + who + "if_present}\n    reenroll: " + who + "if_present}", ""},
		"beside what must be":     {"enroll: " + who + "required}\n    attributes: {require: [friendlyName], allow: [macAddress]}", "1.2.840.113549.1.9.7 1.2.840.113549.1.9.16.2.58 1.2.840.113549.1.9.20"},
		"without it what must be": {"enroll: " + who + "if_present}\n    attributes: {require: [friendlyName], allow: [macAddress]}", "1.2.840.113549.1.9.20"},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(smallest, "enroll: "+who+"if_present}", test.operations, 1)
			profile, _ := mustCompile(t, "p.yaml", []byte(text)).Profile("")
			for _, op := range []Op{CSRAttrs, SimpleEnroll, SimpleReenroll} {
				var got []string
				h := profile.Hints(op)
				for _, oid := range slices.Concat(h.Linking, h.Attributes) {
					got = append(got, oid.String())
				}
				if strings.Join(got, " ") != test.want {
					t.Errorf("%s: %v, want %s", op, got, test.want)
				}
			}
		})
	}
}
