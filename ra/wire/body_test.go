// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
)

// sample begins like DER, and fills several lines.
func sample(n int) []byte {
	der := bytes.Repeat([]byte{0x30, 0x82, 0x00, 0xff, 0x5a}, n/5+1)
	return der[:n]
}

func TestDecodeBodyTakesWhatClientsSend(t *testing.T) {
	der := sample(333)
	one := base64.StdEncoding.EncodeToString(der)
	wrap := func(width int, end string) string {
		var b strings.Builder
		for rest := one; rest != ""; {
			n := min(width, len(rest))
			b.WriteString(rest[:n] + end)
			rest = rest[n:]
		}
		return b.String()
	}
	cases := map[string]string{
		"one line":                       one,
		"one line with a final newline":  one + "\n",
		"wrapped at 64 with LF":          wrap(64, "\n"),
		"wrapped at 64 with CRLF":        wrap(64, "\r\n"),
		"wrapped at 76 with CRLF":        wrap(76, "\r\n"),
		"wrapped at 76, no last newline": strings.TrimRight(wrap(76, "\n"), "\n"),
		"indented with spaces and TABs":  " \t" + wrap(60, " \n\t "),
		"a space after every character":  wrap(1, " "),
		"white space inside the padding": strings.TrimRight(one, "=") + strings.Repeat(" =", strings.Count(one, "=")),
	}
	for name, body := range cases {
		t.Run(name, func(t *testing.T) {
			got, armoured, err := DecodeBody([]byte(body))
			if err != nil || armoured || !bytes.Equal(got, der) {
				t.Fatalf("armoured %v, error %v, equal %v", armoured, err, bytes.Equal(got, der))
			}
		})
	}
}

func TestDecodeBodyReportsArmour(t *testing.T) {
	der := sample(200)
	for _, label := range []string{"CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"} {
		armour := pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der})
		for name, body := range map[string][]byte{
			"LF":                  armour,
			"CRLF":                bytes.ReplaceAll(armour, []byte("\n"), []byte("\r\n")),
			"leading white space": append([]byte("\r\n \t"), armour...),
			"no line ends":        bytes.ReplaceAll(armour, []byte("\n"), nil),
		} {
			got, armoured, err := DecodeBody(body)
			if err != nil || !armoured || !bytes.Equal(got, der) {
				t.Errorf("%s with %s: armoured %v, error %v", label, name, armoured, err)
			}
		}
	}
}

func TestDecodeBodyRefuses(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(sample(20))
	request := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: sample(20)}))
	cases := []struct {
		name, body, says string
	}{
		{"an empty body", "", "empty"},
		{"white space alone", " \r\n\t", "empty"},
		{"raw DER", string(sample(40)), "binary"},
		{"a NUL after good base64", good + "\x00", "binary"},
		{"a byte order mark", "\ufeff" + good, "binary"},
		{"missing padding", strings.TrimRight(good, "="), "incomplete"},
		{"a body cut short", good[:len(good)-3], "incomplete"},
		{"padding in the middle", "AA==" + good, "wrong"},
		{"padding alone", "====", "wrong"},
		{"bits left over at the end", "MB==", "wrong"},
		{"URL-safe base64", "-_-_", "at byte 1"},
		{"a percent escape", good[:4] + "%3D", "at byte 5"},
		{"a vertical tab", good[:4] + "\v" + good[4:], "binary"},
		{"a form field", "csr=" + good + "&x", "at byte"},
		{"armour of a certificate", strings.ReplaceAll(request, "CERTIFICATE REQUEST", "CERTIFICATE"), "armour"},
		{"armour of a private key", strings.ReplaceAll(request, "CERTIFICATE REQUEST", "PRIVATE KEY"), "armour"},
		{"armour with different labels", strings.Replace(request, "END CERTIFICATE", "END NEW CERTIFICATE", 1), "armour"},
		{"armour without an end", request[:60], "armour"},
		{"armour with PEM headers", strings.Replace(request, "\n", "\nProc-Type: 4\n\n", 1), "at byte"},
		{"empty armour", "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n", "empty"},
		{"two armoured requests", request + request, "at byte"},
		{"text before the armour", "Certificate Request:\n" + request, "at byte"},
		{"text after the armour", request + "thanks", "armour"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			der, _, err := DecodeBody([]byte(c.body))
			if err == nil {
				t.Fatalf("accepted as %d bytes", len(der))
			}
			if der != nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
		})
	}
}

func TestDecodeBodyErrorsDoNotEchoTheBody(t *testing.T) {
	secret := "c2VjcmV0LXBhc3N3b3Jk"
	for _, body := range []string{secret + "*", secret + "A", secret + "\x80", "-----BEGIN " + secret, secret + "=" + secret + "AAA"} {
		_, _, err := DecodeBody([]byte(body))
		if err == nil {
			t.Fatalf("accepted %q", body)
		}
		if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "c2V") {
			t.Errorf("the error tells the body: %v", err)
		}
	}
}

func TestDecodeBodyErrorsCanBeTold(t *testing.T) {
	for body, want := range map[string]error{"": ErrEmpty, "\x30\x82\x01\x00": ErrBinary, "-----": ErrArmour} {
		if _, _, err := DecodeBody([]byte(body)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", body, err, want)
		}
	}
}

func TestEncodeBodyForms(t *testing.T) {
	for _, n := range []int{1, 2, 3, 47, 48, 49, 96, 97, 1000} {
		der := make([]byte, n)
		_, _ = rand.Read(der)
		line, wrapped := EncodeBody(der, false), EncodeBody(der, true)
		if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Errorf("%d bytes unwrapped: not one line with a final newline", n)
		}
		rows := strings.Split(strings.TrimSuffix(string(wrapped), "\n"), "\n")
		for i, row := range rows {
			if last := i == len(rows)-1; len(row) > 64 || len(row) == 0 || !last && len(row) != 64 {
				t.Errorf("%d bytes wrapped: line %d of %d has %d columns", n, i+1, len(rows), len(row))
			}
		}
		for _, body := range [][]byte{line, wrapped} {
			if got, _, err := DecodeBody(body); err != nil || !bytes.Equal(got, der) {
				t.Errorf("%d bytes do not come back: %v", n, err)
			}
		}
	}
	if got := string(EncodeBody(nil, false)) + string(EncodeBody(nil, true)); got != "\n\n" {
		t.Errorf("nothing encodes as %q", got)
	}
}

func FuzzDecodeBody(f *testing.F) {
	f.Add([]byte("MEEG\r\nCSqG \t"))
	f.Add([]byte("MB=="))
	f.Add(sample(30))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "NEW CERTIFICATE REQUEST", Bytes: sample(90)}))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----"))
	f.Fuzz(func(t *testing.T, body []byte) {
		der, armoured, err := DecodeBody(body)
		if err != nil {
			return
		}
		again, _, err := DecodeBody(EncodeBody(der, len(body)%2 == 0))
		if err != nil || !bytes.Equal(again, der) {
			t.Fatalf("decoded, but does not come back: %v", err)
		}
		if !armoured && strings.Join(strings.Fields(string(body)), "") != strings.TrimSpace(string(EncodeBody(der, false))) {
			t.Fatal("two texts mean the same DER")
		}
	})
}
