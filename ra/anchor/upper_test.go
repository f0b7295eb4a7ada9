// SPDX-License-Identifier: Apache-2.0

package anchor_test

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/ratest"
)

// under makes a CA with a change to its certificate.
func under(t *testing.T, parent ratest.Signer, name string, change ...func(*x509.Certificate)) ratest.Signer {
	t.Helper()
	template := *parent.Sub(t, name).Certificate
	for _, f := range change {
		f(&template)
	}
	key := ratest.NewKey(t)
	return ratest.Signer{Key: key, Certificate: parent.Sign(t, &template, key.Public())}
}

// What a set has verified before changes no answer: after one device, the next
// is judged as a new set judges it.
func TestWhatIsRememberedAboveALeafChangesNoAnswer(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	constrained := func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"good.example"}, true
	}
	forClients := usages(x509.ExtKeyUsageClientAuth)
	soon := func(c *x509.Certificate) { c.NotAfter = now.Add(30 * time.Minute) }
	plain := func(*x509.Certificate) {}
	for name, test := range map[string]struct {
		middle, issuing func(*x509.Certificate) // a middle of nil isn't there
		uppers          int                     // remembered after the first device
	}{
		"two CAs":                                   {issuing: plain, uppers: 1},
		"three CAs":                                 {middle: plain, issuing: plain, uppers: 1},
		"an issuing CA for clients":                 {issuing: forClients, uppers: 1},
		"an issuing CA with name constraints":       {issuing: constrained, uppers: 0},
		"a middle CA for clients":                   {middle: forClients, issuing: plain, uppers: 0},
		"a middle CA with name constraints":         {middle: constrained, issuing: plain, uppers: 0},
		"a middle CA that ends soon":                {middle: soon, issuing: plain, uppers: 1},
		"an issuing CA that ends soon":              {issuing: soon, uppers: 1},
		"a middle CA with a path length":            {middle: func(c *x509.Certificate) { c.MaxPathLen = 1 }, issuing: plain, uppers: 1},
		"a middle CA with a path length that bites": {middle: func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true }, issuing: plain, uppers: 0},
	} {
		t.Run(name, func(t *testing.T) {
			parent, above := root, []*x509.Certificate(nil)
			if test.middle != nil {
				parent = under(t, root, "Middle CA", test.middle)
				above = append(above, parent.Certificate)
			}
			issuing := under(t, parent, "Issuing CA", test.issuing)
			above = append(above, issuing.Certificate)
			namesake := under(t, ratest.NewRoot(t, "Root"), "Issuing CA", test.issuing)
			send := func(s ratest.Signer, above []*x509.Certificate, name string, change ...func(*x509.Certificate)) []*x509.Certificate {
				return append([]*x509.Certificate{s.Device(t, name, change...).Leaf}, above...)
			}
			all := []anchor.Anchor{{Name: "a", Source: &source{anchors: []*x509.Certificate{root.Certificate}}}}
			warm := &anchor.Set{Anchors: all}
			warm.Verify(t.Context(), send(issuing, above, "one.good.example"), now)
			if n := warm.Uppers(); n != test.uppers {
				t.Errorf("%d uppers are remembered, want %d", n, test.uppers)
			}
			for what, presented := range map[string][]*x509.Certificate{
				"another device":                  send(issuing, above, "two.good.example"),
				"a name outside the constraints":  send(issuing, above, "two.bad.example"),
				"a leaf for servers":              send(issuing, above, "two.good.example", usages(x509.ExtKeyUsageServerAuth)),
				"a leaf alone":                    send(issuing, nil, "two.good.example"),
				"a leaf with its issuing CA":      send(issuing, []*x509.Certificate{issuing.Certificate}, "two.good.example"),
				"a leaf of a namesake":            send(namesake, []*x509.Certificate{namesake.Certificate}, "two.good.example"),
				"a namesake's leaf, the CA's own": send(namesake, above, "two.good.example"),
				"the issuing CA itself":           above,
			} {
				for _, at := range []time.Time{now, now.Add(45 * time.Minute)} {
					got := warm.Verify(t.Context(), presented, at)
					want := (&anchor.Set{Anchors: all}).Verify(t.Context(), presented, at)
					if !slices.Equal(got.Names, want.Names) || !slices.Equal(got.Ends, want.Ends) {
						t.Errorf("%s at %s: %q %v, and a new set says %q %v", what, at.Format(time.TimeOnly), got.Names, got.Ends, want.Names, want.Ends)
					}
				}
			}
			// Under another root, or none, nothing is remembered.
			warm.Anchors = []anchor.Anchor{{Name: "a", Source: &source{anchors: []*x509.Certificate{namesake.Certificate}}}}
			if got := warm.Verify(t.Context(), send(issuing, above, "three.good.example"), now); len(got.Names) > 0 {
				t.Errorf("after the anchor changed: %q", got.Names)
			}
		})
	}
}

// Of several anchors of one name that vouch, the last to end counts, for the
// first device and for the next.
func TestTheLastAnchorToEndCounts(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	sooner := *root.Certificate
	sooner.NotAfter = now.AddDate(1, 0, 0)
	short := root.Sign(t, &sooner, root.Key.Public()) // of the same name and key
	issuing := under(t, root, "Issuing CA")
	for name, test := range map[string]struct {
		anchors []*x509.Certificate
		want    time.Time
	}{
		"one anchor":                  {[]*x509.Certificate{short}, short.NotAfter},
		"two, the short one first":    {[]*x509.Certificate{short, root.Certificate}, root.Certificate.NotAfter},
		"two, the short one last":     {[]*x509.Certificate{root.Certificate, short}, root.Certificate.NotAfter},
		"the issuing CA and its root": {[]*x509.Certificate{issuing.Certificate, short}, issuing.Certificate.NotAfter},
	} {
		t.Run(name, func(t *testing.T) {
			set := &anchor.Set{Anchors: []anchor.Anchor{
				{Name: "stranger", Source: &source{anchors: []*x509.Certificate{ratest.NewRoot(t, "X").Certificate}}},
				{Name: "a", Source: &source{anchors: test.anchors}},
			}}
			for i := range 3 {
				sent, err := x509.ParseCertificate(issuing.Certificate.Raw)
				if err != nil {
					t.Fatal(err)
				}
				presented := []*x509.Certificate{issuing.Device(t, "one.example").Leaf, sent}
				got := set.Verify(t.Context(), presented, now)
				if len(got.Names) != 1 || len(got.Ends) != 1 || !got.Ends[0].Equal(test.want) {
					t.Errorf("device %d: %+v, want the end %s", i, got, test.want)
				}
			}
		})
	}
}
