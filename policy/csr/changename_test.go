// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

func TestChangeSubjectNameIsReadInBothForms(t *testing.T) {
	subject, san := Name(O("b"), CN("a")), SEQ(DNS("a.example"), DirectoryName(CN("x")), IP("10.0.0.1"))
	tests := map[string]struct {
		value   []byte
		subject string
		san     int
		hasSAN  bool
		err     string
	}{
		"subject and subjectAlt of RFC 6402":    {value: SEQ(subject, san), subject: "O=b, CN=a", san: 3, hasSAN: true},
		"subject and subjectAlt [1]":            {value: SEQ(subject, ConstructedName(1, DNS("a.example"))), subject: "O=b, CN=a", san: 1, hasSAN: true},
		"a subject alone":                       {value: SEQ(subject), subject: "O=b, CN=a"},
		"an empty subject alone":                {value: SEQ(Name())},
		"an empty subject and subjectAlt":       {value: SEQ(Name(), san), san: 3, hasSAN: true},
		"subjectAlt alone":                      {value: SEQ(san), san: 3, hasSAN: true},
		"subjectAlt [1] alone":                  {value: SEQ(ConstructedName(1, Email("a@b.example"))), san: 1, hasSAN: true},
		"subjectAlt that begins with otherName": {value: SEQ(SEQ(OtherName("1.2.3", UTF8("x")))), san: 1, hasSAN: true},
		"neither":                               {value: SEQ(), err: "neither subject nor subjectAlt"},
		"nothing":                               {err: "not a SEQUENCE"},
		"a SET":                                 {value: SET(subject), err: "not a SEQUENCE"},
		"trailing bytes":                        {value: append(SEQ(subject), 0), err: "not a SEQUENCE"},
		"two subjects":                          {value: SEQ(subject, subject), err: "subjectAlt: name 1: tag 0x31"},
		"three subjects":                        {value: SEQ(subject, subject, subject), err: "at most one subject, then"},
		"subjectAlt before the subject":         {value: SEQ(san, subject), err: "at most one subject, then"},
		"subjectAlt twice":                      {value: SEQ(san, san), err: "at most one subject, then"},
		"subjectAlt in both forms":              {value: SEQ(subject, san, ConstructedName(1, DNS("a"))), err: "at most one subject, then"},
		"an empty subjectAlt":                   {value: SEQ(subject, SEQ()), err: "subjectAlt: empty"},
		"an empty subjectAlt [1]":               {value: SEQ(subject, ConstructedName(1)), err: "subjectAlt: empty"},
		"subjectAlt [1] with an explicit tag":   {value: SEQ(ConstructedName(1, san)), err: "subjectAlt: name 1: tag 0x30"},
		"a subject tagged [0]":                  {value: SEQ(ConstructedName(0, CN("a"))), err: "at most one subject, then"},
		"an empty RDN":                          {value: SEQ(Name(SET())), err: "subject: RDN 1: empty"},
		"a NUL in a DNS name":                   {value: SEQ(SEQ(DNS("a\x00b"))), err: "subjectAlt: name 1: dns:"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			names, err := csr.ParseChangeSubjectName(test.value)
			if test.err != "" || err != nil {
				wantError(t, err, test.err)
				return
			}
			if names.Subject.String() != test.subject || len(names.SAN) != test.san || names.HasSAN != test.hasSAN {
				t.Errorf("subject %q, %d SAN entries, HasSAN %t", names.Subject, len(names.SAN), names.HasSAN)
			}
		})
	}
}

func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || want == "" || !strings.HasPrefix(err.Error(), "changeSubjectName: ") || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestChangeSubjectNameHasOneValue(t *testing.T) {
	value := SEQ(Name(CN("a")))
	names, present, err := parse(t, New(t, Attribute(csr.OIDChangeSubjectName, value))).ChangeSubjectName()
	if !present || err != nil || names.Subject.String() != "CN=a" {
		t.Errorf("present %t, %v, %v", present, names, err)
	}
	for _, values := range [][][]byte{{}, {value, value}} {
		_, present, err := parse(t, New(t, Attribute(csr.OIDChangeSubjectName, values...))).ChangeSubjectName()
		if !present || err == nil {
			t.Errorf("%d values: present %t, error %v", len(values), present, err)
		}
	}
	if _, present, err := parse(t, New(t)).ChangeSubjectName(); present || err != nil {
		t.Errorf("without the attribute: present %t, error %v", present, err)
	}
}

func TestMarshalChangeSubjectNameWantsAName(t *testing.T) {
	if _, err := csr.MarshalChangeSubjectName(csr.Names{}); err == nil {
		t.Error("no names are encoded")
	}
	if _, err := csr.MarshalChangeSubjectName(csr.Names{HasSAN: true}); err == nil {
		t.Error("an empty SAN is encoded")
	}
	if _, err := csr.MarshalChangeSubjectName(csr.Names{Subject: csr.Name{csr.RDN{}}}); err == nil {
		t.Error("an empty RDN is encoded")
	}
}

// FuzzChangeSubjectName checks that what is read is encoded in the one form of
// RFC 6402, and read again as the same.
func FuzzChangeSubjectName(f *testing.F) {
	subject, san := Name(O("b"), CN("a")), SEQ(DNS("a.example"), DirectoryName(CN("x")))
	for _, seed := range [][]byte{
		nil, SEQ(), SEQ(Name()), SEQ(subject), SEQ(san), SEQ(subject, san), SEQ(Name(), san), SEQ(san, subject),
		SEQ(subject, ConstructedName(1, DNS("a"))), SEQ(ConstructedName(1, DNS("a"))), SEQ(ConstructedName(1, SEQ(DNS("a")))),
		SEQ(Name(RDN(ATV("2.5.4.3", INTEGER(1))))), SEQ(SEQ(OtherName("1.2.3", UTF8("x")), X400(), EDIParty("x"))),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		names, err := csr.ParseChangeSubjectName(value)
		if err != nil {
			onlyPrintable(t, err.Error())
			return
		}
		if len(names.Subject) == 0 && !names.HasSAN {
			if !bytes.Equal(value, SEQ(Name())) {
				t.Errorf("%x asks for no name at all", value)
			}
			return
		}
		encoded, err := csr.MarshalChangeSubjectName(names)
		if err != nil {
			t.Fatal(err)
		}
		again, err := csr.ParseChangeSubjectName(encoded)
		if err != nil || !again.EqualDER(names) {
			t.Errorf("%x is encoded as %x, which is %v, %v", value, encoded, again, err)
		}
	})
}
