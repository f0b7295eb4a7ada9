// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// objects are the names that OpenSSL has for OIDs, short and long.
type objects map[string][2]string

// readObjects reads `openssl list -objects`: "CN = commonName, 2.5.4.3".
func readObjects(text string) objects {
	names := objects{}
	for line := range strings.Lines(text) {
		short, rest, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if !ok {
			continue
		}
		long, oid := short, rest
		if at := strings.LastIndex(rest, ", "); at >= 0 {
			long, oid = rest[:at], rest[at+2:]
		}
		if _, twice := names[oid]; !twice {
			names[oid] = [2]string{short, long}
		}
	}
	return names
}

// of gives the long name, or the dotted form.
func (o objects) of(oid asn1.ObjectIdentifier) string {
	if name, ok := o[oid.String()]; ok {
		return name[1]
	}
	return oid.String()
}

// generalNames writes a SAN as X509V3_EXT_print does. ok is false where OpenSSL
// prints the bytes: one of the names can't be shown.
func (o objects) generalNames(names []csr.GeneralName) (text string, ok bool) {
	var list []string
	for _, g := range names {
		name, ok := o.generalName(g)
		if !ok {
			return "", false
		}
		list = append(list, name)
	}
	return strings.Join(list, ", "), true
}

func (o objects) generalName(g csr.GeneralName) (string, bool) {
	var raw asn1.RawValue
	if _, err := asn1.Unmarshal(g.Raw, &raw); err != nil {
		return "", false
	}
	switch g.Form {
	case csr.Email:
		return "email:" + g.Value, true
	case csr.DNS:
		return "DNS:" + g.Value, true
	case csr.URI:
		return "URI:" + g.Value, true
	case csr.IP:
		return "IP Address:" + addressText(raw.Bytes), true
	case csr.RegisteredID:
		oid, ok := csr.TypeOID(g.Value)
		return "Registered ID:" + o.of(oid), ok
	case csr.X400Address:
		return "X400Name:<unsupported>", true
	case csr.EDIParty:
		return "EdiPartyName:<unsupported>", true
	case csr.DirectoryName:
		name, err := g.DirectoryName()
		return "DirName:" + o.oneLine(name), err == nil
	case csr.OtherName:
		return o.otherName(raw.Bytes)
	}
	return "", false
}

func addressText(b []byte) string {
	if len(b) == 4 {
		return fmt.Sprintf("%d.%d.%d.%d", b[0], b[1], b[2], b[3])
	}
	var groups []string
	for ; len(b) > 1; b = b[2:] {
		groups = append(groups, fmt.Sprintf("%X", binary.BigEndian.Uint16(b)))
	}
	return strings.Join(groups, ":")
}

// typedNames are the otherNames for which OpenSSL demands a string type.
var typedNames = map[string]struct {
	name string
	tag  int
}{
	"1.3.6.1.5.5.7.8.9":      {"SmtpUTF8Mailbox", asn1.TagUTF8String},
	"1.3.6.1.5.5.7.8.5":      {"XmppAddr", asn1.TagUTF8String},
	"1.3.6.1.5.5.7.8.7":      {"SRVName", asn1.TagIA5String},
	"1.3.6.1.5.5.7.8.8":      {"NAIRealm", asn1.TagUTF8String},
	"1.3.6.1.4.1.311.20.2.3": {"UPN", asn1.TagUTF8String},
}

func (o objects) otherName(content []byte) (string, bool) {
	var oid asn1.ObjectIdentifier
	var explicit, value asn1.RawValue
	rest, err := asn1.Unmarshal(content, &oid)
	if err != nil {
		return "", false
	}
	if _, err := asn1.Unmarshal(rest, &explicit); err != nil {
		return "", false
	}
	if _, err := asn1.Unmarshal(explicit.Bytes, &value); err != nil {
		return "", false
	}
	text := stringBytes(explicit.Bytes)
	shown := value.Class == asn1.ClassUniversal && !strings.Contains(text, "\x00")
	if typed, ok := typedNames[oid.String()]; ok {
		return "othername: " + typed.name + "::" + text, shown && value.Tag == typed.tag
	}
	if !shown || value.Tag != asn1.TagUTF8String && value.Tag != asn1.TagIA5String {
		text = "<unsupported>"
	}
	return "othername: " + o.of(oid) + "::" + text, true
}

// stringBytes is the content of a string as OpenSSL keeps it: one in parts, as
// BER allows, is put together; of a BIT STRING it is the bits; what is in
// parts by its type stays whole.
func stringBytes(element []byte) string {
	var v asn1.RawValue
	if _, err := asn1.Unmarshal(element, &v); err != nil {
		return ""
	}
	switch {
	case v.Class != asn1.ClassUniversal || v.Tag == asn1.TagSequence || v.Tag == asn1.TagSet:
		return string(element)
	case v.Tag == asn1.TagBitString && len(v.Bytes) > 0 && !v.IsCompound:
		return string(v.Bytes[1:])
	case !v.IsCompound:
		return string(v.Bytes)
	}
	return collected(v.Bytes)
}

// collected puts a string together, whatever the tags of its parts are.
func collected(parts []byte) string {
	var whole strings.Builder
	for len(parts) > 0 {
		var part asn1.RawValue
		rest, err := asn1.Unmarshal(parts, &part)
		switch {
		case err != nil:
			return whole.String()
		case part.IsCompound:
			whole.WriteString(collected(part.Bytes))
		default:
			whole.Write(part.Bytes)
		}
		parts = rest
	}
	return whole.String()
}

// oneLine is X509_NAME_oneline with a buffer of 256 bytes.
func (o objects) oneLine(name csr.Name) string {
	var line strings.Builder
	for _, rdn := range name {
		for i, v := range rdn {
			kind := v.Type.String()
			if known, ok := o[kind]; ok {
				kind = known[0]
			}
			separator := "/"
			if i > 0 {
				separator = "+"
			}
			part := separator + kind + "=" + escapeOneLine(v)
			if line.Len()+len(part) > 255 {
				return line.String()
			}
			line.WriteString(part)
		}
	}
	return line.String()
}

// escapeOneLine leaves out three of four bytes of a GeneralString where they
// are all zero.
func escapeOneLine(v csr.AttributeValue) string {
	text := stringBytes(v.Raw)
	wide := v.Tag == asn1.TagGeneralString && len(text)%4 == 0
	for i := range len(text) {
		wide = wide && (i%4 == 3 || text[i] == 0)
	}
	var s strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case wide && i%4 != 3:
		case c < ' ' || c > '~':
			fmt.Fprintf(&s, `\x%02X`, c)
		case c == '/' || c == '+':
			s.WriteString(`\` + string(c))
		default:
			s.WriteByte(c)
		}
	}
	return s.String()
}

func keyUsageText(usage x509.KeyUsage) string {
	var list []string
	for i, name := range []string{
		"Digital Signature", "Non Repudiation", "Key Encipherment", "Data Encipherment", "Key Agreement",
		"Certificate Sign", "CRL Sign", "Encipher Only", "Decipher Only",
	} {
		if usage&(1<<i) != 0 {
			list = append(list, name)
		}
	}
	return strings.Join(list, ", ")
}

// hexDump is BIO_dump_indent at 20 columns: 12 bytes on a line.
func hexDump(b []byte) string {
	const width = 12
	var s strings.Builder
	for at := 0; at < len(b); at += width {
		line := b[at:min(at+width, len(b))]
		fmt.Fprintf(&s, "%20s%04x - ", "", at)
		for i := range width {
			switch {
			case i >= len(line):
				s.WriteString("   ")
			case i == 7:
				fmt.Fprintf(&s, "%02x-", line[i])
			default:
				fmt.Fprintf(&s, "%02x ", line[i])
			}
		}
		s.WriteString("  " + strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '.'
			}
			return r
		}, latin(line)) + "\n")
	}
	return s.String()
}

// latin makes each byte one character.
func latin(b []byte) string {
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}

// printed is ASN1_STRING_print.
func printed(b []byte) string {
	return strings.Map(func(r rune) rune {
		if (r < ' ' || r > '~') && r != '\n' && r != '\r' {
			return '.'
		}
		return r
	}, latin(b))
}
