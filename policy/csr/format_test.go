// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

func TestThreat_NoWayOfPrintingShowsAnAttributesValue(t *testing.T) {
	const secret = "s3cret-linking"
	r := parse(t, New(t, Attribute(ChallengePassword, Printable(secret), Printable(secret))))
	holder := struct {
		Request *csr.Request
		Value   csr.Request
		List    []csr.Attribute
		Map     map[string]csr.Attribute
	}{r, *r, r.Attributes, map[string]csr.Attribute{"a": r.Attributes[0]}}

	var printed strings.Builder
	for _, v := range []any{r, *r, r.Attributes, r.Attributes[0], &r.Attributes[0], holder, &holder} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x"} {
			fmt.Fprintf(&printed, verb+"\n", v)
		}
		encoded, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		printed.Write(encoded)
	}
	slog.New(slog.NewTextHandler(&printed, nil)).Info("m", "r", r, "h", holder)
	slog.New(slog.NewJSONHandler(&printed, nil)).Info("m", "r", r, "h", holder)

	for _, form := range []string{
		secret, hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
		base64.StdEncoding.EncodeToString(r.Raw)[:20],
		base64.StdEncoding.EncodeToString(r.Attributes[0].Values[0])[:12],
		strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]"), fmt.Sprintf("% x", secret),
		strings.Trim(fmt.Sprintf("%#v", []byte(secret))[len("[]byte"):], "{}"),
	} {
		if strings.Contains(printed.String(), form) {
			t.Errorf("%q is in what was printed", form)
		}
	}
}

func TestWhatIsPrintedOfRequestAndAttribute(t *testing.T) {
	r := parse(t, New(t, Attribute(ChallengePassword, Printable("x")), Attribute("1.2.3")))
	if got := fmt.Sprintf("%+v", r.Attributes); got != "[1.2.840.113549.1.9.7 (1 value) 1.2.3 (0 values)]" {
		t.Errorf("attributes are %s", got)
	}
	if got, want := fmt.Sprintf("%#v", r), "PKCS #10 request "+r.SHA256()+` (subject "CN=device.example")`; got != want {
		t.Errorf("request is %s, want %s", got, want)
	}
	if got := fmt.Sprintf("%v", (*csr.Request)(nil)); got != "<nil>" {
		t.Errorf("no request is %s", got)
	}
}

func TestErrorsDoNotShowAnAttributesValue(t *testing.T) {
	der := New(t, Attribute(ChallengePassword, Printable("s3cret"), append(Printable("s3cret"), 0x0c, 9, 's')))
	_, err := csr.Parse(der)
	if err == nil || strings.Contains(err.Error(), "s3cret") || bytes.Contains([]byte(err.Error()), []byte("733363")) {
		t.Errorf("error is %v", err)
	}
}
