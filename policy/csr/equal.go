// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"crypto/x509"
	"slices"
	"strconv"
	"strings"
)

// NamesOf reads the names of a parsed certificate from its encoding.
func NamesOf(cert *x509.Certificate) (Names, error) {
	if cert == nil || len(cert.RawSubject) == 0 {
		return Names{}, bad("no parsed certificate")
	}
	subject, err := parseName(cert.RawSubject)
	if err != nil {
		return Names{}, within("subject", err)
	}
	var list []Extension
	for _, e := range cert.Extensions {
		if e.Id.String() == OIDSubjectAltName {
			list = append(list, Extension{ID: e.Id, Critical: e.Critical, Value: e.Value})
		}
	}
	if len(list) > 1 {
		return Names{}, within("subjectAltName", bad("occurs %d times", len(list)))
	}
	names := Names{Subject: subject}
	names.SAN, names.HasSAN, err = sanOf(list)
	return names, err
}

// Equal compares as RFC 5280 section 7 does: the subjects by [Name.Equal], the
// SANs as multisets, and a SAN in one only is a difference. DNS names ignore
// the case of ASCII letters (section 7.2), as do the hosts of e-mail
// addresses (7.5) and the schemes and hosts of URIs (7.4); directoryNames
// compare as names do; everything else is exact.
func (n Names) Equal(o Names) bool {
	if n.HasSAN != o.HasSAN || len(n.SAN) != len(o.SAN) || !n.Subject.Equal(o.Subject) {
		return false
	}
	mine, ok := canonicalSAN(n.SAN)
	theirs, okToo := canonicalSAN(o.SAN)
	return ok && okToo && slices.Equal(mine, theirs)
}

// Equal compares as [Names.Equal] does for one entry of a SAN.
func (g GeneralName) Equal(o GeneralName) bool {
	if g.Form != o.Form {
		return false
	}
	mine, ok := g.canonical()
	theirs, okToo := o.canonical()
	return ok && okToo && mine == theirs
}

// EqualDER reports that both would be encoded alike, the order of the SAN
// included. Names that can't be encoded are equal to none.
func (n Names) EqualDER(o Names) bool {
	mine, err := n.Subject.MarshalDER()
	theirs, errToo := o.Subject.MarshalDER()
	if err != nil || errToo != nil || !bytes.Equal(mine, theirs) || n.HasSAN != o.HasSAN {
		return false
	}
	return slices.EqualFunc(n.SAN, o.SAN, func(a, b GeneralName) bool {
		return len(a.Raw) > 0 && bytes.Equal(a.Raw, b.Raw)
	})
}

// Equal compares as RFC 5280 section 7.1 does: the same RDNs in the same
// order, each a set of the same attributes. Texts are equal when they are the
// same after letting ASCII letters ignore case and spaces collapse; the
// string type doesn't matter. Beyond ASCII only identical characters are
// equal, so that no look-alike passes. What isn't text compares by its bytes.
func (n Name) Equal(o Name) bool {
	if slices.EqualFunc(n, o, RDN.identical) { // most names are, and this costs little
		return true
	}
	mine, ok := n.canonical()
	theirs, okToo := o.canonical()
	return ok && okToo && slices.Equal(mine, theirs)
}

// SameRDNs compares as [Name.Equal] does, but for the order of the RDNs, which
// RFC 5280 section 7.1 counts: for what writes them in an order of its own.
func (n Name) SameRDNs(o Name) bool {
	mine, ok := n.canonical()
	theirs, okToo := o.canonical()
	return ok && okToo && slices.Equal(sorted(mine), sorted(theirs))
}

// identical is true only for RDNs that are equal without any folding.
func (r RDN) identical(o RDN) bool {
	return slices.EqualFunc(r, o, func(a, b AttributeValue) bool {
		if !a.Type.Equal(b.Type) || a.Text != b.Text {
			return false
		}
		if a.Text {
			return a.Value == b.Value
		}
		return len(a.Raw) > 0 && bytes.Equal(a.Raw, b.Raw)
	})
}

// canonical gives one string for each RDN, the same for equal RDNs. It is
// false when a value has neither text nor encoding: that is equal to nothing.
func (n Name) canonical() ([]string, bool) {
	var rdns []string
	for _, rdn := range n {
		var values []string
		for _, v := range rdn {
			key, ok := v.canonical()
			if !ok {
				return nil, false
			}
			values = append(values, key)
		}
		rdns = append(rdns, frame(sorted(values)...))
	}
	return rdns, true
}

func (v AttributeValue) canonical() (string, bool) {
	if v.Text {
		// strings.Fields would take other spaces as well; they are characters
		// like any other here.
		words := strings.FieldsFunc(foldASCII(v.Value), func(r rune) bool { return r == ' ' })
		return frame(v.Type.String(), "text", strings.Join(words, " ")), true
	}
	return frame(v.Type.String(), "raw", string(v.Raw)), len(v.Raw) > 0
}

func canonicalSAN(names []GeneralName) ([]string, bool) {
	var keys []string
	for _, g := range names {
		key, ok := g.canonical()
		if !ok {
			return nil, false
		}
		keys = append(keys, key)
	}
	return sorted(keys), true
}

// canonical gives a string that is the same for equal names.
func (g GeneralName) canonical() (string, bool) {
	key := string(g.Raw)
	switch g.Form {
	case DNS:
		key = foldASCII(g.Value)
	case Email:
		key = foldHost(g.Value)
	case URI:
		key = foldURI(g.Value)
	case IP, RegisteredID:
		key = g.Value
	case DirectoryName:
		name, err := g.DirectoryName()
		rdns, ok := name.canonical()
		return frame(append([]string{g.Form.String()}, rdns...)...), err == nil && ok
	case OtherName, X400Address, EDIParty: // as they are written
	}
	return frame(g.Form.String(), key), key != ""
}

// foldHost folds what follows the last @, if there is one.
func foldHost(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return s
	}
	return s[:at] + foldASCII(s[at:])
}

// foldURI folds the scheme, and the host where there is an authority (RFC
// 3986 section 3). User information, path, query and fragment stay.
func foldURI(s string) string {
	scheme, rest, ok := strings.Cut(s, ":")
	if !ok || strings.ContainsAny(scheme, "/?#") {
		return s
	}
	scheme = foldASCII(scheme) + ":"
	authority, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return scheme + rest
	}
	end := len(authority)
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		end = i
	}
	host := authority[:end]
	if strings.Contains(host, "@") {
		host = foldHost(host)
	} else {
		host = foldASCII(host)
	}
	return scheme + "//" + host + authority[end:]
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

// frame joins strings so that no two lists give the same result.
func frame(parts ...string) string {
	size := 0
	for _, part := range parts {
		size += len("123:") + len(part)
	}
	b := make([]byte, 0, size)
	for _, part := range parts {
		b = strconv.AppendInt(b, int64(len(part)), 10)
		b = append(b, ':')
		b = append(b, part...)
	}
	return string(b)
}
