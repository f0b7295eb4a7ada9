// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/store"
)

// A brokenInventory can't be read.
type brokenInventory struct{}

func (brokenInventory) BySHA256(context.Context, string, [32]byte) (store.Certificate, error) {
	return store.Certificate{}, errors.New("the disk is gone")
}

func TestThreat_ALineForAProfileTakesWhatWasIssuedUnderIt(t *testing.T) {
	for _, c := range []struct {
		what    string
		profile string // "-": the inventory hasn't got it
		broken  bool
		label   string
		status  int
		reason  string
	}{
		{"issued under the profile", "basic", false, "basic", 200, ""},
		{"issued under another one", "fleet", false, "basic", 403, `was issued under the profile "fleet", and this line wants one of "basic"`},
		{"imported without a profile", "", false, "basic", 403, `the inventory doesn't have the client certificate under a profile`},
		{"issued elsewhere", "-", false, "basic", 403, `the inventory doesn't have the client certificate under a profile`},
		{"while the store can't be read", "basic", true, "basic", 503, "the store can't be asked"},
		{"where no line asks", "-", true, "fleet", 200, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			o := newOnce(t, func(x *site) {
				x.Policy = compileOnce(t, strings.Replace(onceRules, "reenroll: {who: [{client_cert: {anchor: ours}}]", "reenroll: {who: [{client_cert: {anchor: ours, profile: basic}}]", 1))
				x.Authority.Policy = x.Policy
			})
			o.Inventory = o.store.Certificates()
			if c.broken {
				o.Inventory = brokenInventory{}
			}
			leaf := o.enroll("a device", 200, "either", o.csr("P-256/own", "a.example"), "", o.device("maker.example")).certs(t)[0]
			own := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: csrtest.Key(t, "P-256/own")}
			if c.profile != "-" {
				_, _, err := o.store.Certificates().Import(t.Context(), []store.Certificate{{
					ID: "imported", Serial: ra.SerialText(leaf.SerialNumber), SHA256: sha256.Sum256(leaf.Raw), DER: leaf.Raw, Profile: c.profile,
					NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
				}}, o.clock)
				if err != nil {
					t.Fatal(err)
				}
			}
			g := o.do(call{path: c.label + "/simplereenroll", body: o.csr("P-256/new", "a.example"), certs: []tls.Certificate{own}})
			record, _ := o.last(g.Header.Get("X-Request-Id"))
			said := fmt.Sprintf("%s %+v", record.Reason, record.Decision)
			if g.StatusCode != c.status || !strings.Contains(said, c.reason) {
				t.Errorf("%d %s, want %d with %q", g.StatusCode, said, c.status, c.reason)
			}
		})
	}
}
