// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// Forms of names whose text is that of csr.GeneralName.
var (
	upnForm          = form{"user principal name", compileEmail, spellEmail}
	registeredIDForm = form{"registeredID", compileOID, spellOID}
	permanentForm    = form{"permanentIdentifier", compilePermanent, spellPermanent}
	hardwareForm     = form{"hardwareModuleName", compileHardware, spellHardware}
)

// otherForm is that of an otherName by the OID of its type.
func otherForm(typeID string) form {
	return form{"otherName " + typeID, compileOther, spellOther}
}

// compileOID: `*` is one number, `**` is one or more.
func compileOID(text string) (pattern, error) {
	expression, err := oidExpression(text)
	if err != nil {
		return pattern{}, err
	}
	return pattern{text: text, whole: anchored(expression)}, nil
}

func oidExpression(text string) (string, error) {
	if err := stars(text); err != nil {
		return "", err
	}
	numbers := strings.Split(text, ".")
	for i, number := range numbers {
		switch {
		case number != "*" && number != "**":
		case i == 0:
			numbers[i] = "2" // before any other number an OID may have 2
		default:
			numbers[i] = "1"
		}
	}
	if _, err := spellOID(strings.Join(numbers, ".")); err != nil && text != "**" {
		return "", errors.New("it is not an OID such as 1.3.6.1.4.1.32473.1, of which * stands for one whole number and ** for several")
	}
	return translate(text, `[0-9]+`, `[0-9]+(?:\.[0-9]+)*`), nil
}

func spellOID(value string) (string, error) {
	oid, ok := csr.TypeOID(value)
	if !ok || oid.String() != value {
		return "", errors.New("it is not an OID")
	}
	return value, nil
}

// compilePermanent: ASSIGNER/VALUE. The assigner is a pattern of OIDs or
// empty; in the value `*` and `**` are as in the name of a machine.
func compilePermanent(text string) (pattern, error) {
	assigner, value, found := strings.Cut(text, "/")
	if !found {
		return pattern{}, errPermanent
	}
	expression := ""
	if assigner != "" {
		oid, err := oidExpression(assigner)
		if err != nil {
			return pattern{}, fmt.Errorf("its assigner can't match: %w", err)
		}
		expression = oid
	}
	if err := plainText(value); err != nil {
		return pattern{}, fmt.Errorf("its value can't match: %w", err)
	}
	return pattern{text: text, whole: anchored(expression + "/" + translate(value, asciiRun, asciiSome))}, nil
}

var errPermanent = errors.New("it is not of the form ASSIGNER/VALUE, with the OID of who assigned it, or nothing, before the slash")

func spellPermanent(value string) (string, error) {
	assigner, identifier, found := strings.Cut(value, "/")
	if !found {
		return "", errPermanent
	}
	if assigner != "" {
		if _, err := spellOID(assigner); err != nil {
			return "", fmt.Errorf("its assigner is not accepted: %w", err)
		}
	}
	if _, err := spellText(identifier); err != nil {
		return "", fmt.Errorf("its value is not accepted: %w", err)
	}
	return value, nil
}

// compileHardware: TYPE/SERIAL. The type is a pattern of OIDs; in the serial
// number, which is hexadecimal, `*` is any run of digits.
func compileHardware(text string) (pattern, error) {
	hwType, serial, found := strings.Cut(asciiLower(text), "/")
	if !found {
		return pattern{}, errHardware
	}
	oid, err := oidExpression(hwType)
	if err != nil {
		return pattern{}, fmt.Errorf("its type can't match: %w", err)
	}
	digits := strings.ReplaceAll(serial, "*", "")
	switch {
	case strings.Contains(serial, "**"):
		return pattern{}, errors.New("a serial number has no dots that ** could cross: write *")
	case strings.Trim(digits, "0123456789abcdef") != "":
		return pattern{}, errHardware
	case digits == serial && (serial == "" || len(serial)%2 != 0):
		return pattern{}, errors.New("a serial number has two hexadecimal digits for each byte, and one byte at least")
	}
	return pattern{text: text, whole: anchored(oid + "/" + translate(serial, `[0-9a-f]*`, ""))}, nil
}

var errHardware = errors.New("it is not of the form TYPE/SERIAL, with an OID before the slash and hexadecimal digits behind it")

func spellHardware(value string) (string, error) {
	hwType, serial, found := strings.Cut(asciiLower(value), "/")
	if _, err := hex.DecodeString(serial); err != nil || !found || serial == "" {
		return "", errHardware
	}
	if _, err := spellOID(hwType); err != nil {
		return "", fmt.Errorf("its type is not accepted: %w", err)
	}
	return hwType + "/" + serial, nil
}

const (
	utf8Prefix = "utf8:"
	ia5Prefix  = "ia5:"
	oidPrefix  = "oid:"
	derPrefix  = "der:"
)

var errOther = errors.New("it begins with none of utf8:, ia5:, oid: and der: before its value")

// compileOther: utf8: with a pattern as in subjects, ia5: with one for ASCII
// alone, oid: with a pattern of OIDs, or der: with one exact value in base64.
func compileOther(text string) (pattern, error) {
	prefix, rest, _ := strings.Cut(text, ":")
	switch prefix + ":" {
	case utf8Prefix:
		return compileValue(utf8Prefix, rest, anyRun, anySome)
	case ia5Prefix:
		if strings.ContainsFunc(rest, beyondASCII) {
			return pattern{}, errors.New("an IA5String is ASCII")
		}
		return compileValue(ia5Prefix, rest, asciiRun, asciiSome)
	case oidPrefix:
		expression, err := oidExpression(rest)
		if err != nil {
			return pattern{}, err
		}
		return pattern{text: text, whole: anchored(oidPrefix + expression)}, nil
	case derPrefix:
		// One that has another spelling can never match.
		if _, err := csr.NewOtherName(anyOther, text); err != nil {
			return pattern{}, errors.New(show(err.Error()))
		}
		return pattern{text: text, whole: anchored(regexp.QuoteMeta(text))}, stars(text)
	}
	return pattern{}, errOther
}

// anyOther is a type of otherName without a syntax of its own.
var anyOther = asn1.ObjectIdentifier{1, 2, 3}

func spellOther(value string) (string, error) {
	prefix, rest, _ := strings.Cut(value, ":")
	var err error
	switch prefix + ":" {
	case utf8Prefix, ia5Prefix:
		_, err = spellText(rest)
	case oidPrefix:
		_, err = spellOID(rest)
	case derPrefix:
		if _, bad := base64.StdEncoding.Strict().DecodeString(rest); bad != nil || rest == "" {
			err = errors.New("it is not base64")
		}
	default:
		err = errOther
	}
	return value, err
}
