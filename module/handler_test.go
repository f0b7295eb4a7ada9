// SPDX-License-Identifier: Apache-2.0

package module

import (
	"slices"
	"strings"
	"testing"
)

// A service manager gives files by way of the environment.
func TestNamesOfFilesMayHavePlaceholders(t *testing.T) {
	t.Setenv("ESTRA_FILES", "files")
	h := &Handler{
		Policy:       "{env.ESTRA_FILES}/policy.yaml",
		CACertsExtra: []string{"{env.ESTRA_FILES}/extra.pem"},
		Anchors:      []AnchorConfig{{Name: "a", Files: []string{"plain.pem", "{env.ESTRA_FILES}/a.pem"}, CRL: []string{"b.crl", "{env.ESTRA_FILES}/a.crl"}, OCSP: "http://{env.ESTRA_FILES}/"}},
	}
	if err := h.expandFiles(); err != nil {
		t.Fatal(err)
	}
	got := []string{h.Policy, h.CACertsExtra[0], h.Anchors[0].Files[0], h.Anchors[0].Files[1], h.Anchors[0].CRL[1], h.Anchors[0].OCSP}
	want := []string{"files/policy.yaml", "files/extra.pem", "plain.pem", "files/a.pem", "files/a.crl", "http://files/"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	h.Anchors[0].CRL[1] = "{env.ESTRA_NOT_SET}"
	if err := h.expandFiles(); err == nil || !strings.Contains(err.Error(), "anchors a crl: ") {
		t.Errorf("a variable that isn't set: %v", err)
	}
}
