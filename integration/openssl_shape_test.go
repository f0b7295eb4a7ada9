// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/asn1"
	"fmt"
	"regexp"
	"slices"
	"strings"

	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// A shape is the text that `openssl req -text` has to print of a request,
// made from our view of it alone: then whatever OpenSSL reads and we don't is
// a text that doesn't fit. It is a list of pieces, one after the other.
type shape struct {
	names  objects
	pieces []piece
}

// A piece is one of several texts that OpenSSL may print, or anything: where
// the content is compared by its bytes elsewhere, or refused by every policy.
type piece struct {
	what     string
	texts    []string
	anything bool
	// never is what must not stand in anything; nil is nothing.
	never *regexp.Regexp
}

func (s *shape) text(what string, texts ...string) {
	s.pieces = append(s.pieces, piece{what: what, texts: texts})
}

func (s *shape) anything(what string, never *regexp.Regexp) {
	s.pieces = append(s.pieces, piece{what: what, anything: true, never: never})
}

// shapeOf writes what apps/req.c and X509_REQ_print_ex of OpenSSL 3 print with
// -nameopt sep_multiline,oid,dump_all,dump_der -reqopt ext_dump.
func shapeOf(r *csr.Request, names objects) *shape {
	s := &shape{names: names}
	s.text("version", fmt.Sprintf("Certificate Request:\n    Data:\n        Version: %d (0x%x)\n", r.Version+1, r.Version))
	whole := func(v csr.AttributeValue) []byte { return v.Raw }
	s.text("subject", "        Subject:\n"+subjectText(r.Names.Subject, whole)+"\n", "        Subject:\n"+subjectText(r.Names.Subject, inOnePart)+"\n")
	s.key(r)
	s.attributes(r)
	s.extensions(r)
	s.text("signature", "    Signature Algorithm: "+names.of(r.SignatureOID)+"\n")
	s.anything("signature", nil)
	return s
}

// inOnePart is how OpenSSL keeps a string that came in parts, which BER allows,
// and a BIT STRING whose unused bits aren't 0. To us neither is text.
func inOnePart(v csr.AttributeValue) []byte {
	const constructed = 0x20
	if last := len(v.Raw) - 1; v.Tag == asn1.TagBitString && last > 2 && v.Raw[2] < 8 {
		raw := slices.Clone(v.Raw)
		raw[last] &= 0xff << raw[2]
		return raw
	}
	if v.Tag&constructed == 0 || v.Tag == asn1.TagSequence|constructed || v.Tag == asn1.TagSet|constructed {
		return v.Raw
	}
	return TLV(casn1.Tag(v.Tag&^constructed), []byte(stringBytes(v.Raw)))
}

// subjectText has each value as its DER in hexadecimal, an RDN on each line.
func subjectText(subject csr.Name, value func(csr.AttributeValue) []byte) string {
	if len(subject) == 0 {
		return strings.Repeat(" ", 12)
	}
	var lines []string
	for _, rdn := range subject {
		var values []string
		for _, v := range rdn {
			oid := v.Type.String()
			values = append(values, fmt.Sprintf("%s=#%X", oid[:min(len(oid), 79)], value(v))) // OpenSSL has a buffer of 80
		}
		lines = append(lines, strings.Repeat(" ", 12)+strings.Join(values, " + "))
	}
	return strings.Join(lines, "\n")
}

// key: the bytes of the key have been compared by the fuzz target; here it is
// whether OpenSSL takes it for a key of the same kind and size.
func (s *shape) key(r *csr.Request) {
	s.text("key", "        Subject Public Key Info:\n            Public Key Algorithm: ")
	switch r.Key.Algorithm {
	case csr.RSA:
		s.text("key", fmt.Sprintf("rsaEncryption\n                Public-Key: (%d bit)\n", r.Key.Bits), "rsaEncryption\n            Unable to load Public Key\n")
	case csr.ECDSA:
		s.text("key", fmt.Sprintf("id-ecPublicKey\n                Public-Key: (%d bit)\n", r.Key.Bits), "id-ecPublicKey\n            Unable to load Public Key\n")
	case csr.Ed25519:
		s.text("key", "ED25519\n                ED25519 Public-Key:\n")
	case csr.UnknownKey: // no policy accepts it
	}
	s.anything("key", nil)
}

// attributes have up to 25 columns for the name, and a line for each value.
func (s *shape) attributes(r *csr.Request) {
	s.text("attributes", "        Attributes:\n")
	_, requests := r.Attribute(microsoftExtensions)
	if len(r.Attributes) == 0 { // OpenSSL counts extensionRequest as well
		s.text("attributes", "            (none)\n", "")
	}
	for _, a := range r.Attributes {
		if a.Type.String() == microsoftExtensions {
			continue
		}
		name := s.names.of(a.Type)
		var text strings.Builder
		text.WriteString(strings.Repeat(" ", 12) + name)
		indent := 25 - len(name)
		for _, value := range a.Values {
			text.WriteString(strings.Repeat(" ", max(indent, 0)) + ":" + attributeText(value) + "\n")
			indent = 25 - min(indent, 0)
		}
		s.text("attribute "+name, text.String())
	}
	if requests { // OpenSSL reads it as extensionRequest; no policy takes it
		s.anything("Microsoft's extensions", nil)
	}
}

const microsoftExtensions = "1.3.6.1.4.1.311.2.1.14"

func attributeText(value []byte) string {
	var v asn1.RawValue
	if _, err := asn1.Unmarshal(value, &v); err != nil || v.Class != asn1.ClassUniversal || v.IsCompound {
		return "unable to print attribute"
	}
	switch v.Tag {
	case asn1.TagPrintableString, asn1.TagT61String, asn1.TagNumericString, asn1.TagUTF8String, asn1.TagIA5String:
		return string(v.Bytes)
	}
	return "unable to print attribute"
}

func (s *shape) extensions(r *csr.Request) {
	if _, other := r.Attribute(microsoftExtensions); other {
		return
	}
	head := "            Requested Extensions:\n"
	if len(r.Extensions) == 0 {
		s.text("extensions", head, "")
		return
	}
	s.text("extensions", head)
	for _, e := range r.Extensions {
		critical := ""
		if e.Critical {
			critical = "critical"
		}
		name := s.names.of(e.ID)
		s.text("extension "+name, fmt.Sprintf("%16s%s: %s\n", "", name, critical))
		bodies := s.bodies(r, e)
		if bodies == nil {
			never := extensionLine
			if slices.Contains(e.Value, '\n') {
				never = nil // a line of the value itself may look like one
			}
			s.anything("content of "+name, never)
			continue
		}
		s.text("content of "+name, append(bodies, hexDump(e.Value)+"\n", strings.Repeat(" ", 20)+printed(e.Value)+"\n")...)
	}
}

// bodies gives what stands below the name of an extension that has been read,
// or nil for an extension of which a policy sees the name and the bytes.
func (s *shape) bodies(r *csr.Request, e csr.Extension) []string {
	line := func(text string) []string { return []string{strings.Repeat(" ", 20) + text + "\n"} }
	switch e.ID.String() {
	case csr.OIDSubjectAltName:
		if text, ok := s.names.generalNames(r.Names.SAN); ok {
			return line(text)
		}
		return []string{}
	case csr.OIDKeyUsage:
		if usage, _, err := r.RequestedKeyUsage(); err == nil {
			return line(keyUsageText(usage))
		}
	case csr.OIDExtKeyUsage:
		if usages, _, err := r.RequestedExtKeyUsage(); err == nil {
			var texts []string
			for _, oid := range usages {
				texts = append(texts, s.names.of(oid))
			}
			return line(strings.Join(texts, ", "))
		}
	case csr.OIDBasicConstraints:
		if isCA, _, err := r.RequestedBasicConstraints(); err == nil && !isCA {
			return line("CA:FALSE")
		}
	default:
		if _, known := s.names[e.ID.String()]; !known {
			return []string{}
		}
	}
	return nil
}

var extensionLine = regexp.MustCompile(`(?m)^ {16}\S.*: (critical)?$`)

// unlike says where the text that OpenSSL prints is none of this shape. A text
// that ends early is OpenSSL giving up, which it may.
func (s *shape) unlike(text string, whole bool) string {
	for i, p := range s.pieces {
		if text == "" && !whole {
			return ""
		}
		if p.anything {
			end := s.next(i+1, text)
			if p.never != nil && p.never.MatchString(text[:end]) {
				return fmt.Sprintf("%s: OpenSSL shows another extension in %q", p.what, text[:end])
			}
			text = text[end:]
			continue
		}
		rest, ok := cutAny(text, p.texts, whole)
		if !ok {
			return fmt.Sprintf("%s: OpenSSL shows %q where we have %q", p.what, text[:min(len(text), 300)], p.texts)
		}
		text = rest
	}
	if text != "" {
		return fmt.Sprintf("OpenSSL shows more: %q", text)
	}
	return ""
}

func cutAny(text string, choices []string, whole bool) (string, bool) {
	for _, choice := range choices {
		if rest, ok := strings.CutPrefix(text, choice); ok {
			return rest, true
		}
		if !whole && strings.HasPrefix(choice, text) {
			return "", true
		}
	}
	return "", false
}

// next gives where a piece begins, or the end of the text.
func (s *shape) next(i int, text string) int {
	for ; i < len(s.pieces); i++ {
		for _, choice := range s.pieces[i].texts {
			if at := strings.Index(text, choice); choice != "" && at >= 0 {
				return at
			}
		}
		if !slices.Contains(s.pieces[i].texts, "") {
			break
		}
	}
	return len(text)
}
