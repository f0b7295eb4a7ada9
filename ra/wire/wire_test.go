// SPDX-License-Identifier: Apache-2.0

package wire

import "testing"

func TestIsPKCS10(t *testing.T) {
	for contentType, want := range map[string]bool{
		"application/pkcs10":                           true,
		"Application/PKCS10":                           true,
		"application/pkcs10; charset=utf-8":            true,
		"application/pkcs10;name=\"a.p10\"":            true,
		" application/pkcs10 ":                         true,
		"application/pkcs10;":                          true,
		"application/pkcs10; charset":                  true,
		"application/pkcs10; name=a; name=b":           true,
		"application/pkcs10 ;name=a;name=a":            true,
		"application/pkcs10; =;;\"":                    true,
		"application/pkcs10garbage; name=a; name=b":    false,
		"application/ pkcs10; name=a":                  false,
		"application/pkcs10 name=a":                    false,
		"; application/pkcs10":                         false,
		"application/pkcs10garbage; charset":           false,
		"application/pkcs10garbage":                    false,
		"application/pkcs1":                            false,
		"application/pkcs10, application/pkcs10":       false,
		"application/pkcs10/x":                         false,
		"application/x-pkcs10":                         false,
		"application/pkcs7-mime":                       false,
		"application/x-www-form-urlencoded":            false,
		"":                                             false,
		";":                                            false,
		"text/plain; x=application/pkcs10":             false,
		"multipart/mixed; boundary=application/pkcs10": false,
	} {
		if got := IsPKCS10(contentType); got != want {
			t.Errorf("IsPKCS10(%q) = %v", contentType, got)
		}
	}
}

func TestAnswersAreRecognised(t *testing.T) {
	for _, contentType := range []string{TypePKCS7, TypeCertsOnly, "application/PKCS7-mime;smime-type=certs-only", TypeCertsOnly + "; smime-type=x"} {
		if !IsPKCS7(contentType) {
			t.Errorf("IsPKCS7(%q) is false", contentType)
		}
	}
	if IsPKCS7(TypeText) || IsPKCS7("") || IsCSRAttrs(TypePKCS7) || !IsCSRAttrs(TypeCSRAttrs) {
		t.Error("an answer is taken for another")
	}
}

func TestWrapsByUserAgent(t *testing.T) {
	cases := []struct {
		name   string
		quirks Quirks
		agent  string
		want   bool
	}{
		{"libest is built in", Quirks{}, "libest 3.2.0p", true},
		{"letter case does not matter", Quirks{}, "LibEST", true},
		{"Cisco's name is built in", Quirks{}, "Cisco EST Client/1.0", true},
		{"strongSwan is not", Quirks{}, "strongSwan/5.9.8", false},
		{"nobody is not", Quirks{}, "", false},
		{"a client in the list", Quirks{Wrapped: []string{"Acme"}}, "acme-router 7", true},
		{"a client beside the list", Quirks{Wrapped: []string{"Acme"}}, "curl/8", false},
		{"the unwrapped list wins over the built-in names", Quirks{Unwrapped: []string{"libest 3"}}, "libest 3.2.0p", false},
		{"the unwrapped list wins over the other", Quirks{Wrapped: []string{"acme"}, Unwrapped: []string{"ACME"}}, "Acme", false},
		{"a star wraps for everybody", Quirks{Wrapped: []string{"*"}}, "", true},
		{"a star unwraps for everybody", Quirks{Unwrapped: []string{"*"}}, "libest", false},
		{"an empty entry is nobody", Quirks{Wrapped: []string{""}, Unwrapped: []string{""}}, "libest", true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got := c.quirks.Wraps(c.agent); got != c.want {
				t.Errorf("Wraps(%q) = %v", c.agent, got)
			}
		})
	}
}

func TestPlainCSRAttrsByUserAgent(t *testing.T) {
	for agent, want := range map[string]bool{
		"": true, "libest 3.2.0p": true, "Cisco EST client 1.0": true,
		"strongSwan/5.9.8": false, "Java/17.0.15": false, "estra": false,
	} {
		listed := Quirks{Wrapped: []string{"*"}, Unwrapped: []string{"libest"}}
		if got := listed.PlainCSRAttrs(agent); got != want {
			t.Errorf("PlainCSRAttrs(%q) = %v", agent, got)
		}
	}
}

func TestCACertsTypeHasNoParameterUnlessAsked(t *testing.T) {
	if got := (Quirks{}).CACertsType(); got != TypePKCS7 {
		t.Error(got)
	}
	if got := (Quirks{CACertsSMIMEType: true}).CACertsType(); got != TypeCertsOnly {
		t.Error(got)
	}
}
