// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// An empty SEQUENCE where one element is expected has brought servers down
// (CVE-2026-40097). Each is refused or taken as what it is, and nothing that
// is asked of the request panics.
func TestThreat_EmptySequencesDoNotPanic(t *testing.T) {
	empty, set := SEQ(), []byte{0x31, 0}
	for name, option := range map[string]Option{
		"subjectAltName":            Extension("2.5.29.17", false, empty),
		"extKeyUsage":               Extension("2.5.29.37", false, empty),
		"keyUsage":                  Extension("2.5.29.15", false, empty),
		"basicConstraints":          Extension("2.5.29.19", false, empty),
		"an extension of no octets": Extension("2.5.29.37", false, nil),
		"an attribute of no values": Attribute("1.2.840.113549.1.9.14"),
		"an attribute of a SET":     Attribute("1.2.840.113549.1.9.14", set),
		"a list of no extensions":   Attribute("1.2.840.113549.1.9.14", empty),
		"an extension of nothing":   Attribute("1.2.840.113549.1.9.14", SEQ(empty)),
		"an RDN of nothing":         Subject(set),
	} {
		t.Run(name, func(t *testing.T) {
			r, err := csr.Parse(New(t, option))
			if err != nil {
				return
			}
			_ = r.CheckPOP()
			_, _, _ = r.RequestedKeyUsage()
			_, _, _ = r.RequestedExtKeyUsage()
			_, _, _ = r.RequestedBasicConstraints()
			_, _ = r.Names.Subject.MarshalDER()
			_ = r.Names.Equal(r.Names)
			_ = r.Names.Subject.String()
		})
	}
	for _, der := range [][]byte{nil, {}, empty, SEQ(empty), SEQ(empty, empty, empty), SEQ(SEQ(empty, empty, empty), empty, empty)} {
		if _, err := csr.Parse(der); err == nil {
			t.Errorf("%x parses", der)
		}
	}
}
