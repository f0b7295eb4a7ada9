// SPDX-License-Identifier: Apache-2.0

package anchor_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/ratest"
)

// A changed anchor acts on the next request of an open connection: there is
// nothing of the handshake in what is asked here.
func TestThreat_AChangedAnchorFileActsOnTheNextRequest(t *testing.T) {
	a, b := ratest.NewRoot(t, "A"), ratest.NewRoot(t, "B")
	names := []string{filepath.Join(t.TempDir(), "a.pem"), filepath.Join(t.TempDir(), "b.pem")}
	at := time.Now()
	store := func(name string, certs ...*x509.Certificate) {
		t.Helper()
		var data []byte
		for _, c := range certs {
			data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := anchor.NewFiles(names); err == nil {
		t.Error("missing files make a source")
	}
	store(names[0], a.Certificate)
	store(names[1], b.Certificate)
	files, err := anchor.NewFiles(names)
	if err != nil {
		t.Fatal(err)
	}
	files.At(func() time.Time { return at })
	set := &anchor.Set{Anchors: []anchor.Anchor{{Name: "x", Source: files}}}
	leafOfA, leafOfB := a.Device(t, "a.example").Leaf, b.Device(t, "b.example").Leaf
	var states []string
	for _, step := range []struct {
		name   string
		change func()
		want   []string
	}{
		{"as they were loaded", func() {}, []string{"vouched", "vouched"}},
		{"one becomes the other", func() { store(names[0], b.Certificate) }, []string{"refused", "vouched"}},
		{"one is empty", func() { store(names[0]) }, []string{"unavailable", "unavailable"}},
		{"one is gone", func() { _ = os.Remove(names[0]) }, []string{"unavailable", "unavailable"}},
		{"both in one", func() { store(names[0], a.Certificate, b.Certificate) }, []string{"vouched", "vouched"}},
	} {
		at = at.Add(time.Second)
		step.change()
		states = nil
		for _, leaf := range []*x509.Certificate{leafOfA, leafOfB} {
			got := set.Verify(t.Context(), []*x509.Certificate{leaf}, now)
			switch {
			case len(got.Names) > 0:
				states = append(states, "vouched")
			case len(got.Unavailable) > 0:
				states = append(states, "unavailable")
			default:
				states = append(states, "refused")
			}
		}
		if !slices.Equal(states, step.want) {
			t.Errorf("%s: %q, want %q", step.name, states, step.want)
		}
	}
}
