// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// Columns of a list of devices. One of the identities stands in each line.
const (
	columnIssuer    = "issuer"
	columnSerial    = "serial_number"
	columnHardware  = "hardware_module_name" // TYPE:HEX
	columnPermanent = "permanent_identifier" // [ASSIGNER]:VALUE
	columnNote      = "note"

	columnKeyID         = "decrypt_key_id"       // hexadecimal
	columnKey           = "decrypt_key"          // base64
	columnAsymmetricID  = "asymm_decrypt_key_id" // hexadecimal; without it the certificate's subjectKeyIdentifier
	columnAsymmetricKey = "asymm_decrypt_key"    // base64 of DER
	columnPassword      = "pkcs12_password"
)

var columns = []string{
	columnIssuer, columnSerial, columnHardware, columnPermanent, columnNote,
	columnKeyID, columnKey, columnAsymmetricID, columnAsymmetricKey, columnPassword,
}

// Bounds of a list.
const (
	mostDevices  = 1_000_000
	longestValue = 256 // bytes
)

// ReadDevices reads a list of devices: CSV (RFC 4180) whose first line names
// its columns. Issuer is for lines that name none. All that is wrong is
// reported with its line.
func ReadDevices(in io.Reader, issuer string) ([]Device, error) {
	return readList(in, columns, func(head, fields []string) ([]Device, error) {
		d, err := deviceOf(head, fields, issuer)
		return []Device{d}, err
	})
}

// readList reads CSV whose first line names columns that are known.
func readList[T any](in io.Reader, known []string, each func(head, fields []string) ([]T, error)) ([]T, error) {
	lines := csv.NewReader(in)
	lines.TrimLeadingSpace = true
	head, err := lines.Read()
	if err != nil {
		return nil, fmt.Errorf("the first line names the columns, of %s: %w", strings.Join(known, ", "), err)
	}
	for i, name := range head {
		head[i] = strings.TrimSpace(strings.TrimPrefix(name, "\ufeff"))
		if !slices.Contains(known, head[i]) || slices.Contains(head[:i], head[i]) {
			return nil, fmt.Errorf("line 1: the column %q is unknown or there twice; there is: %s", head[i], strings.Join(known, ", "))
		}
	}
	var list []T
	var problems []error
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return list, errors.Join(problems...)
		}
		line, _ := lines.FieldPos(0)
		var read []T
		wrong := err
		if err == nil {
			read, wrong = each(head, fields)
		}
		if wrong != nil {
			problems = append(problems, fmt.Errorf("line %d: %w", line, wrong))
		}
		if parse := (*csv.ParseError)(nil); len(problems) >= 20 || len(list) >= mostDevices || err != nil && !errors.As(err, &parse) {
			return nil, errors.Join(append(problems, errors.New("the rest isn't read"))...)
		}
		list = append(list, read...)
	}
}

func deviceOf(head, fields []string, issuer string) (Device, error) {
	d := Device{Issuer: issuer}
	keys := map[string]string{}
	for i, name := range head {
		value := strings.TrimSpace(fields[i])
		if value == "" {
			continue
		}
		identity := ""
		switch name {
		case columnIssuer:
			d.Issuer = value
		case columnNote:
			d.Note = value
		case columnSerial:
			identity = policy.SerialIdentity(value)
		case columnHardware:
			identity = "hardwareModuleName:" + lowerAfter(value)
		case columnPermanent:
			identity = "permanentIdentifier:" + value
		default:
			keys[name] = value
		}
		if identity != "" && d.Identity != "" {
			return d, errors.New("a device has one of serial_number, hardware_module_name and permanent_identifier, and this line has several")
		}
		if identity != "" {
			d.Identity = identity
		}
	}
	var err error
	if d.Issuer, err = KeyID(d.Issuer); err != nil {
		return d, err
	}
	if err := d.readKeys(keys); err != nil {
		return d, err
	}
	return d, errors.Join(checkIdentity(d.Identity), checkText("note", d.Note))
}

// readKeys reads the columns of the keys that a device decrypts with, and of its
// password.
func (d *Device) readKeys(fields map[string]string) error {
	for _, c := range []struct {
		id, key    string
		asymmetric bool
	}{{columnKeyID, columnKey, false}, {columnAsymmetricID, columnAsymmetricKey, true}} {
		if fields[c.key] == "" && fields[c.id] != "" {
			return fmt.Errorf("%s stands without %s", c.id, c.key)
		}
		if fields[c.key] == "" {
			continue
		}
		k, err := readKey(fields[c.id], fields[c.key], c.asymmetric)
		if err != nil {
			return fmt.Errorf("%s: %w", c.key, err)
		}
		d.Keys = append(d.Keys, k)
	}
	if fields[columnPassword] == "" {
		return nil
	}
	k, err := readPassword(fields[columnPassword])
	if err != nil {
		return fmt.Errorf("%s: %w", columnPassword, err)
	}
	d.Keys = append(d.Keys, k)
	return nil
}

// lowerAfter writes the serial number, which is hex, in small letters.
func lowerAfter(value string) string {
	kind, serial, _ := strings.Cut(value, ":")
	return kind + ":" + strings.ToLower(serial)
}

// KeyID reads a key identifier: hexadecimal, with or without colons.
func KeyID(text string) (string, error) {
	text = strings.ToLower(strings.ReplaceAll(text, ":", ""))
	octets, err := hex.DecodeString(text)
	if err != nil || len(octets) == 0 || len(octets) > 64 {
		return "", fmt.Errorf("the issuer %.80q is no key identifier in hexadecimal (X509v3 Subject Key Identifier of the CA that has issued the IDevIDs)", text)
	}
	return text, nil
}

// checkIdentity wants what a certificate can have.
func checkIdentity(identity string) error {
	kind, value, _ := strings.Cut(identity, ":")
	first, second, both := strings.Cut(value, ":")
	switch {
	case identity == "":
		return errors.New("the device has none of serial_number, hardware_module_name and permanent_identifier")
	case kind == "serialNumber" && value != "":
	case kind == "hardwareModuleName" && both:
		_, isOID := csr.TypeOID(first)
		if octets, err := hex.DecodeString(second); err != nil || len(octets) == 0 || !isOID || strings.ToLower(second) != second {
			return fmt.Errorf("the hardware_module_name %.80q is not TYPE:SERIAL, an OID and hexadecimal", value)
		}
	case kind == "permanentIdentifier" && both && second != "":
		if _, isOID := csr.TypeOID(first); first != "" && !isOID {
			return fmt.Errorf("the permanent_identifier %.80q is not ASSIGNER:VALUE, or :VALUE without an assigner", value)
		}
	default:
		return fmt.Errorf("%.80q is no identity of a device", identity)
	}
	return checkText("identity", identity)
}

func checkText(what, text string) error {
	if len(text) > longestValue || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fmt.Errorf("the %s has more than %d bytes, or a control character", what, longestValue)
	}
	return nil
}

// A UserKey is a key of who has an account, by a file of the operator's.
type UserKey struct {
	// User is METHOD:USER, such as http_basic:depot, as records have it.
	User string
	DecryptKey
}

// columnUser names who a key is of.
const columnUser = "user"

// ReadUserKeys reads a list of keys as ReadDevices reads devices, with a column
// user in the place of those of a device.
func ReadUserKeys(in io.Reader) ([]UserKey, error) {
	known := []string{columnUser, columnNote, columnKeyID, columnKey, columnAsymmetricID, columnAsymmetricKey, columnPassword}
	return readList(in, known, func(head, fields []string) ([]UserKey, error) {
		var user string
		var d Device
		keys := map[string]string{}
		for i, name := range head {
			switch value := strings.TrimSpace(fields[i]); name {
			case columnUser:
				user = value
			case columnNote:
			default:
				keys[name] = value
			}
		}
		if err := d.readKeys(keys); err != nil {
			return nil, err
		}
		if method, name, ok := strings.Cut(user, ":"); !ok || method == "" || name == "" || len(d.Keys) == 0 {
			return nil, errors.New("a line has a user, METHOD:USER such as http_basic:depot, and a key")
		}
		var all []UserKey
		for _, k := range d.Keys {
			all = append(all, UserKey{user, k})
		}
		return all, nil
	})
}
