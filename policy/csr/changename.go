// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// subjectAltTag is [1] before subjectAlt, as drafts of the text that follows
// RFC 5272 have it. The type is a SEQUENCE OF and the module has implicit
// tags, so it stands in the place of the SEQUENCE's own.
const subjectAltTag = der.Tag(0x80 | 0x20 | 1)

// ChangeSubjectName gives the names that a request asks for in the place of
// its own (RFC 6402 section 2.8). present is false where it asks for none.
func (r *Request) ChangeSubjectName() (names Names, present bool, err error) {
	a, present := r.Attribute(OIDChangeSubjectName)
	if !present {
		return Names{}, false, nil
	}
	if len(a.Values) != 1 {
		return Names{}, true, within("changeSubjectName", bad("%d values, where there is one", len(a.Values)))
	}
	names, err = ParseChangeSubjectName(a.Values[0])
	return names, true, err
}

// ParseChangeSubjectName decodes the attribute's value. The names are those of
// the certificate wanted: an absent subject empties it, and an absent
// subjectAlt removes the extension.
//
// In RFC 6402 both fields are untagged SEQUENCEs, so only what is inside tells
// them apart: a Name has SETs, GeneralNames have context tags. An empty
// SEQUENCE is a Name, since GeneralNames have at least one entry.
func ParseChangeSubjectName(value []byte) (Names, error) {
	names, err := parseChangeSubjectName(value)
	if err != nil {
		return Names{}, within("changeSubjectName", err)
	}
	return names, nil
}

func parseChangeSubjectName(value []byte) (Names, error) {
	var names Names
	var body cryptobyte.String
	input := cryptobyte.String(value)
	if !input.ReadASN1(&body, der.SEQUENCE) || !input.Empty() {
		return names, bad("not a SEQUENCE in DER")
	}
	if body.Empty() {
		return names, bad("neither subject nor subjectAlt")
	}
	if isName(body) {
		var subject cryptobyte.String
		var err error
		if !body.ReadASN1Element(&subject, der.SEQUENCE) {
			return names, bad("the subject is not DER")
		}
		if names.Subject, err = parseName(subject); err != nil {
			return names, within("subject", err)
		}
	}
	if body.Empty() {
		return names, nil
	}
	var list cryptobyte.String
	var tag der.Tag
	if !body.ReadAnyASN1(&list, &tag) || tag != der.SEQUENCE && tag != subjectAltTag || !body.Empty() {
		return names, bad("not at most one subject, then at most one subjectAlt")
	}
	san, err := wrap(der.SEQUENCE, list)
	if err != nil {
		return names, within("subjectAlt", err)
	}
	if names.SAN, err = parseSAN(san); err != nil {
		return names, within("subjectAlt", err)
	}
	names.HasSAN = true
	return names, nil
}

// isName tells a Name from GeneralNames at the beginning of s.
func isName(s cryptobyte.String) bool {
	var content cryptobyte.String
	return s.ReadASN1(&content, der.SEQUENCE) && (content.Empty() || content.PeekASN1Tag(der.SET))
}

// MarshalChangeSubjectName encodes the value of the attribute as RFC 6402 has
// it. Without any name there is nothing to ask for, which is an error.
func MarshalChangeSubjectName(names Names) ([]byte, error) {
	if len(names.Subject) == 0 && !names.HasSAN {
		return nil, within("changeSubjectName", bad("neither subject nor subjectAlt"))
	}
	var content []byte
	if len(names.Subject) > 0 {
		subject, err := names.Subject.MarshalDER()
		if err != nil {
			return nil, within("changeSubjectName", within("subject", err))
		}
		content = subject
	}
	if names.HasSAN {
		san, err := MarshalSAN(names.SAN)
		if err != nil {
			return nil, within("changeSubjectName", err)
		}
		content = append(content, san...)
	}
	return wrap(der.SEQUENCE, content)
}
