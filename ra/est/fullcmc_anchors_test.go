// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/wire"
)

// bag opens a Full PKI Response and gives all certificates in it.
func (x *cmcSite) bag(g got) []*x509.Certificate {
	x.t.Helper()
	der, _, err := wire.DecodeBody([]byte(g.body))
	if err != nil {
		x.t.Fatal(err)
	}
	return must(must(cms.ReadSigned(der)).Verify(cms.FindCertificate())).Certificates()
}

func TestAProfilePublishesTheRootsWithWhatIsGranted(t *testing.T) {
	x := newCMC(t)
	ask := func(label string, names ...string) got {
		var requests []cmc.Request
		for i, name := range names {
			requests = append(requests, request(t, cmc.BodyPartID(i+1), csrtest.NewKey(t, "P-256"), name))
		}
		return x.post(label, x.sealed(label, requests...))
	}
	root := sha256.Sum256(x.ca.Root.Certificate.Raw)
	for name, test := range map[string]struct {
		label  string
		names  []string
		status int
		said   string
		roots  bool
	}{
		"what is granted":         {"told", []string{"a.example"}, 200, "success 1", true},
		"what is granted in part": {"told", []string{"bad name", "a.example"}, 200, "failed badRequest 1, success 2", true},
		"nothing is granted":      {"told", []string{"bad name"}, 403, "failed badRequest 1", false},
		"a profile without it":    {"cmc", []string{"bad name", "a.example"}, 200, "failed badRequest 1, success 2", false},
	} {
		t.Run(name, func(t *testing.T) {
			g := ask(test.label, test.names...)
			r, _, said := x.response(g)
			_, value, present, err := r.Controls.Only(cmc.OIDTrustedAnchors)
			if g.StatusCode != test.status || said != test.said || present != test.roots || err != nil {
				t.Fatalf("%d, %s, anchors %t, %v", g.StatusCode, said, present, err)
			}
			if in := slices.ContainsFunc(x.bag(g), x.ca.Root.Certificate.Equal); in != test.roots {
				t.Errorf("the root is among the certificates: %t", in)
			}
			if !present {
				return
			}
			list := must(cmc.ParseTrustAnchors(value))
			if list.Sequence.Cmp(big.NewInt(x.clock.Unix())) != 0 || !list.Hash.Equal(cmc.OIDSHA256) || len(list.Hashes) != 1 || !bytes.Equal(list.Hashes[0], root[:]) {
				t.Errorf("%+v, want the root %x", list, root)
			}
		})
	}
}

// sealed is a message with the MAC of a new password.
func (x *cmcSite) sealed(label string, requests ...cmc.Request) string {
	x.t.Helper()
	p := x.password(label)
	return sealedBy(x.t, identified(p, requests...), p.ID, string(p.Text))
}

func TestTheNumberOfPublishedRootsNeverFalls(t *testing.T) {
	old, now := ratest.NewRoot(t, "Old").Certificate, time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	next := ratest.NewRoot(t, "Next").Certificate
	before := big.NewInt(0)
	for i, roots := range []certificates{{old}, {old, next}, {next, old}, {next}, {old}} {
		a := trustAnchors(roots, now.Add(time.Duration(i)*time.Second))
		if len(a.Hashes) != len(roots) || a.Sequence.Cmp(before) <= 0 {
			t.Errorf("set %d: %d hashes, %v after %v", i, len(a.Hashes), a.Sequence, before)
		}
		before = a.Sequence
	}
}

func TestStatusesOfTheFirstVersionStandBesideThoseOfTheSecond(t *testing.T) {
	x := newCMC(t)
	bad, good := request(t, 1, csrtest.NewKey(t, "P-256"), "bad name"), request(t, 2, csrtest.NewKey(t, "P-256"), "a.example")
	for label, both := range map[string]bool{"told": true, "cmc": false} {
		for name, body := range map[string]string{
			"granted in part": x.sealed(label, bad, good),
			"not a message":   csrBody(t),
		} {
			r, _, _ := x.response(x.post(label, body))
			second, first := r.Controls.All(cmc.OIDStatusInfoV2), r.Controls.All(cmc.OIDStatusInfo)
			if want := map[bool]int{true: len(second)}[both]; len(second) == 0 || len(first) != want {
				t.Errorf("%s, %s: %d of the first version, %d of the second", label, name, len(first), len(second))
				continue
			}
			for i := range first {
				// Without paths the two have the same form.
				if !bytes.Equal(first[i].Values[0], second[i].Values[0]) || first[i].ID == second[i].ID {
					t.Errorf("%s, %s: %x and %x", label, name, first[i].Values[0], second[i].Values[0])
				}
			}
		}
	}
}
