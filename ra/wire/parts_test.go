// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"mime"
	"strings"
	"testing"
)

func TestPartsAreWrittenAsClientsReadThem(t *testing.T) {
	key, bag := bytes.Repeat([]byte{1, 2, 3}, 100), bytes.Repeat([]byte{4}, 10)
	for _, wrapped := range []bool{false, true} {
		contentType, body, err := EncodeParts([]Part{{TypePKCS8, key}, {TypeCertsOnly, bag}}, wrapped)
		if err != nil {
			t.Fatal(err)
		}
		media, params, err := mime.ParseMediaType(contentType)
		if err != nil || media != "multipart/mixed" || len(params["boundary"]) < 32 {
			t.Errorf("the type is %s, %v", contentType, err)
		}
		text := string(body)
		if strings.Count(text, "\n") != strings.Count(text, "\r\n") {
			t.Errorf("a line doesn't end with CRLF:\n%q", text)
		}
		begin := "--" + params["boundary"] + "\r\nContent-Type: application/pkcs8\r\nContent-Transfer-Encoding: base64\r\n\r\nAQID"
		end := "\r\nContent-Type: application/pkcs7-mime; smime-type=certs-only\r\nContent-Transfer-Encoding: base64\r\n\r\nBAQEBAQEBAQEBA==\r\n--" +
			params["boundary"] + "--\r\n"
		if !strings.HasPrefix(text, begin) || !strings.HasSuffix(text, end) {
			t.Errorf("the body is\n%q", text)
		}
		longest := 0
		for line := range strings.Lines(text) {
			longest = max(longest, len(strings.TrimSpace(line)))
		}
		if wrapped == (longest > 76) {
			t.Errorf("wrapped %t, and the longest line has %d characters", wrapped, longest)
		}
		got, err := DecodeParts(contentType, append([]byte("a preamble\r\n"), append(body, "an epilogue"...)...))
		if err != nil || !bytes.Equal(got.Key, key) || got.Encrypted || !bytes.Equal(got.Certificates, bag) {
			t.Errorf("read back: %v, %v", got.Encrypted, err)
		}
	}
	one, _, _ := EncodeParts(nil, false)
	if two, _, _ := EncodeParts(nil, false); one == two {
		t.Error("the boundary is the same twice")
	}
}

func TestPartsAreToldApartByTheirTypes(t *testing.T) {
	const contentType = `Multipart/Mixed; boundary="a b"`
	part := func(kind, text string) string { return "--a b\r\nContent-Type: " + kind + "\r\n\r\n" + text + "\r\n" }
	const certs, clear, sealed = "application/pkcs7-mime; smime-type=certs-only", "application/pkcs8", "application/pkcs7-mime; smime-type=server-generated-key"
	for name, c := range map[string]struct {
		contentType, body string
		encrypted, fails  bool
	}{
		"the certificate first":           {contentType, part(certs, "BAQ=") + part(clear, "AQI=") + "--a b--", false, false},
		"an encrypted key":                {contentType, part(sealed, "AQI=") + part(certs, "BAQ=") + "--a b--", true, false},
		"a certificate without a type":    {contentType, part(clear, "AQI=") + part("application/pkcs7-mime", "BAQ=") + "--a b--", false, false},
		"something else beside":           {contentType, part("text/plain", "x") + part(clear, "AQI=") + part(certs, "BAQ=") + "--a b--", false, false},
		"bare LF":                         {contentType, strings.ReplaceAll(part(clear, "AQI=")+part(certs, "BAQ=")+"--a b--", "\r", ""), false, false},
		"two keys":                        {contentType, part(clear, "AQI=") + part(sealed, "AQI=") + part(certs, "BAQ=") + "--a b--", false, true},
		"two certificates":                {contentType, part(clear, "AQI=") + part(certs, "BAQ=") + part(certs, "BAQ=") + "--a b--", false, true},
		"no key":                          {contentType, part(certs, "BAQ=") + "--a b--", false, true},
		"no certificate":                  {contentType, part(clear, "AQI=") + "--a b--", false, true},
		"no end":                          {contentType, part(clear, "AQI=") + part(certs, "BAQ="), false, true},
		"too many parts":                  {contentType, strings.Repeat(part("text/plain", "x"), 9) + part(clear, "AQI=") + part(certs, "BAQ=") + "--a b--", false, true},
		"no base64":                       {contentType, part(clear, "%%") + part(certs, "BAQ=") + "--a b--", false, true},
		"no boundary":                     {"multipart/mixed", "", false, true},
		"another type":                    {"application/pkcs7-mime", "", false, true},
		"a type that only begins like it": {"multipart/mixedup; boundary=x", "", false, true},
		"a key whose type only begins so": {contentType, part("application/pkcs8x", "AQI=") + part(certs, "BAQ=") + "--a b--", false, true},
	} {
		got, err := DecodeParts(c.contentType, []byte(c.body))
		if (err != nil) != c.fails || err == nil && (got.Encrypted != c.encrypted || !bytes.Equal(got.Key, []byte{1, 2}) || !bytes.Equal(got.Certificates, []byte{4, 4})) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// FuzzDecodeParts looks for panics, and for keys in errors.
func FuzzDecodeParts(f *testing.F) {
	contentType, body, err := EncodeParts([]Part{{TypePKCS8, []byte("key")}, {TypeCertsOnly, []byte("certificate")}}, true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(contentType, body)
	f.Add("multipart/mixed; boundary=x", []byte("--x\r\n\r\n--x--"))
	f.Add("multipart/mixed; boundary=x", []byte("--x\r\nContent-Type: application/pkcs8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nAQI=\r\n--x--"))
	f.Fuzz(func(t *testing.T, contentType string, body []byte) {
		a, err := DecodeParts(contentType, body)
		if err != nil && (a.Key != nil || a.Certificates != nil) || err == nil && (a.Key == nil || a.Certificates == nil) {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// FuzzEncodeParts holds that what is written is read back.
func FuzzEncodeParts(f *testing.F) {
	f.Add([]byte("key"), []byte("certificate"), true, true)
	f.Add(bytes.Repeat([]byte{0xff}, 48), bytes.Repeat([]byte{0}, 49), false, true)
	f.Fuzz(func(t *testing.T, key, certs []byte, wrapped, encrypted bool) {
		if len(key) == 0 || len(certs) == 0 {
			return
		}
		kind := TypePKCS8
		if encrypted {
			kind = TypeServerKey
		}
		contentType, body, err := EncodeParts([]Part{{kind, key}, {TypeCertsOnly, certs}}, wrapped)
		if err != nil {
			t.Fatal(err)
		}
		a, err := DecodeParts(contentType, body)
		if err != nil || !bytes.Equal(a.Key, key) || !bytes.Equal(a.Certificates, certs) || a.Encrypted != encrypted {
			t.Errorf("read back: %+v, %v", a, err)
		}
	})
}
