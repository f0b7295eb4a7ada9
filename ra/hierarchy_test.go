// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

type certs = []*x509.Certificate

// same compares as sets.
func same(a, b certs) bool {
	within := func(a, b certs) bool {
		return !slices.ContainsFunc(a, func(c *x509.Certificate) bool { return !slices.ContainsFunc(b, c.Equal) })
	}
	return len(a) == len(b) && within(a, b) && within(b, a)
}

// TestForeignCertificatesArePublishedAndNothingElse: the CA of the server's TLS
// chain is in /cacerts, and neither an issuer nor a path to one.
func TestForeignCertificatesArePublishedAndNothingElse(t *testing.T) {
	root, web := ratest.NewRoot(t, "Root"), ratest.NewRoot(t, "Web Root")
	issuing := root.Sub(t, "Issuing")
	upstream := ratest.NewCA(t)
	upstream.Publish(root.Certificate, issuing.Certificate)
	ca := upstream.Known("x")
	ca.Pins = func() []*x509.Certificate { return certs{root.Certificate} }
	ca.Foreign = certs{web.Certificate, root.Certificate}
	ca.UseCRL = true // no warning about it
	if err := ca.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := ca.Chain(t.Context()); !same(got, certs{root.Certificate, issuing.Certificate, web.Certificate}) {
		t.Errorf("chain: %s", subjects(got))
	}
	if got, _ := ca.Roots(t.Context()); !same(got, certs{root.Certificate, web.Certificate}) {
		t.Errorf("roots: %s", subjects(got))
	}
	if got, _ := ca.Issuers(t.Context()); !same(got, certs{issuing.Certificate}) {
		t.Errorf("issuers: %s", subjects(got))
	}
	if ok, err := ca.Issued(t.Context(), web.Device(t, "a.example.net").Leaf); ok || err != nil {
		t.Errorf("a certificate of the web CA counts as issued: %t, %v", ok, err)
	}
	if got := ca.Warnings(); len(got) != 0 {
		t.Errorf("warnings: %q", got)
	}
	if got := ca.Fingerprints(); len(got) != 1 {
		t.Errorf("fingerprints: %q", got)
	}
}

func subjects(list certs) string {
	var names []string
	for _, c := range list {
		names = append(names, c.Subject.CommonName+" by "+c.Issuer.CommonName)
	}
	return strings.Join(names, ", ")
}

func TestOnlyWhatAPinVouchesForIsPublished(t *testing.T) {
	root, other := ratest.NewRoot(t, "Root"), ratest.NewRoot(t, "Other Root")
	middle := root.Sub(t, "Middle")
	issuing, foreign := middle.Sub(t, "Issuing"), other.Sub(t, "Foreign")
	direct := root.Sub(t, "Direct")
	next := ratest.NewRoot(t, "Next Root")
	renamed := ratest.NewRoot(t, "Root") // a key change under the same name, as in RFC 4210
	newWithOld, oldWithNew := root.Cross(t, next.Certificate), next.Cross(t, root.Certificate)
	sameNameCross := root.Cross(t, renamed.Certificate)
	underNext := next.Sub(t, "Under Next")
	underRenamed := renamed.Sub(t, "Under Renamed")
	device := root.Device(t, "device.example").Leaf
	expired := *middle.Certificate
	expired.NotAfter = time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
	ended := root.Sign(t, &expired, ratest.NewKey(t).Public())
	r, m, i, d, f := root.Certificate, middle.Certificate, issuing.Certificate, direct.Certificate, foreign.Certificate
	n, un, rn, ur, o := next.Certificate, underNext.Certificate, renamed.Certificate, underRenamed.Certificate, other.Certificate
	for name, test := range map[string]struct {
		published, extra, pins certs
		chain, issuers         certs
		warnings               int
		failure                string
	}{
		"root and intermediate":                      {published: certs{r, d}, pins: certs{r}, chain: certs{r, d}, issuers: certs{d}},
		"a middle CA isn't an issuing one":           {published: certs{i, m, r}, pins: certs{r}, chain: certs{r, m, i}, issuers: certs{i}},
		"two issuing CAs":                            {published: certs{r, m, i, d}, pins: certs{r}, chain: certs{r, m, i, d}, issuers: certs{i, d}},
		"a root alone issues itself":                 {published: certs{r}, pins: certs{r, o}, chain: certs{r}, issuers: certs{r}},
		"a certificate twice":                        {published: certs{r, r, d, d}, pins: certs{r}, chain: certs{r, d}, issuers: certs{d}},
		"a root that isn't pinned is left out":       {published: certs{r, d, o, f}, pins: certs{r}, chain: certs{r, d}, issuers: certs{d}, warnings: 2},
		"no pinned root":                             {published: certs{o, f}, pins: certs{r}, failure: "none of the CA's root certificates"},
		"a root of the pinned name with another key": {published: certs{rn, ur}, pins: certs{r}, failure: "none of the CA's root certificates"},
		"no pins":                                         {published: certs{r, d}, failure: "no valid root certificate is configured"},
		"a pin that has ended":                            {published: certs{r, d}, pins: certs{ended}, failure: "no valid root certificate is configured"},
		"nothing at all":                                  {pins: certs{r}, failure: "none of the CA's root certificates"},
		"an intermediate without its root":                {published: certs{d}, pins: certs{r}, failure: "none of the CA's root certificates"},
		"a key change with cross certificates":            {published: certs{r, n, newWithOld, oldWithNew, d, un}, pins: certs{r}, chain: certs{r, n, newWithOld, oldWithNew, d, un}, issuers: certs{d, un}},
		"a key change where roots issue":                  {published: certs{r, n, newWithOld, oldWithNew}, pins: certs{r}, chain: certs{r, n, newWithOld, oldWithNew}, issuers: certs{r, n}},
		"a key change under the same name":                {published: certs{r, rn, sameNameCross, ur}, pins: certs{r}, chain: certs{r, rn, sameNameCross, ur}, issuers: certs{ur}},
		"the new root when the old one is gone":           {published: certs{n, newWithOld, un}, pins: certs{r}, chain: certs{n, newWithOld, un}, issuers: certs{un}},
		"a new root that signs itself into trust":         {published: certs{r, d, n, oldWithNew, un}, pins: certs{r}, chain: certs{r, d}, issuers: certs{d}, warnings: 3},
		"an end entity among the CA certificates":         {published: certs{r, d, device}, pins: certs{r}, chain: certs{r, d}, issuers: certs{d}, warnings: 1},
		"an ended intermediate":                           {published: certs{r, d, ended}, pins: certs{r}, chain: certs{r, d}, issuers: certs{d}, warnings: 1},
		"an extra root that a pinned one certifies":       {published: certs{r, d}, extra: certs{n, newWithOld}, pins: certs{r}, chain: certs{r, d, n, newWithOld}, issuers: certs{d}},
		"an extra intermediate never issues":              {published: certs{r, d}, extra: certs{m, i}, pins: certs{r}, chain: certs{r, d, m, i}, issuers: certs{d}},
		"an extra root that nobody certifies is left out": {published: certs{r, d}, extra: certs{o}, pins: certs{r}, chain: certs{r, d}, issuers: certs{d}, warnings: 1},
		"an extra root alone makes no CA":                 {published: certs{}, extra: certs{r, d}, pins: certs{r}, failure: "no issuing certificate"},
		"more certificates than anybody has":              {published: slices.Repeat(certs{r}, 101), pins: certs{r}, failure: "101 certificates"},
	} {
		t.Run(name, func(t *testing.T) {
			upstream := ratest.NewCA(t)
			upstream.Publish(test.published...)
			ca := upstream.Known("x")
			ca.Pins = func() []*x509.Certificate { return test.pins }
			ca.Extra = test.extra
			ca.UseCRL = true // no warning about it
			err := ca.Refresh(t.Context())
			if test.failure != "" {
				var e *ra.Error
				if !errors.As(err, &e) || e.Kind != ra.UpstreamDown || !strings.Contains(err.Error(), test.failure) {
					t.Errorf("got %v, want %q", err, test.failure)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := ca.Chain(t.Context()); !same(got, test.chain) {
				t.Errorf("chain: %s; want %s", subjects(got), subjects(test.chain))
			}
			if got, _ := ca.Issuers(t.Context()); !same(got, test.issuers) {
				t.Errorf("issuers: %s; want %s", subjects(got), subjects(test.issuers))
			}
			if got := ca.Warnings(); len(got) != test.warnings {
				t.Errorf("warnings: %q; want %d", got, test.warnings)
			}
		})
	}
}
