// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// A CA decides later. Each repeat, with a CSR that was made anew, asks it for the
// same order, and one certificate comes of it.
func TestTheSameOrderIsAskedForUntilTheCAHasDecided(t *testing.T) {
	b := newBook(t)
	waits := func(what, ref string, after time.Duration) {
		t.Helper()
		out, err := b.enroll(t, b.request(t, ratest.User))
		var e *ra.Error
		if !errors.As(err, &e) || e.Kind != ra.Pending || e.RetryAfter != after || out.Status != ra.StatusPending || out.Ref != ref || out.Certificate != nil {
			t.Errorf("%s: %v, %+v", what, err, out)
		}
	}
	b.upstream.Set(ratest.Knobs{Err: ra.Later("order 7", 90*time.Second, "somebody looks at it")})
	waits("at first", "order 7", 90*time.Second)
	b.want(t, "at first", "1 pending")
	b.now = b.now.Add(12 * time.Hour)
	b.upstream.Set(ratest.Knobs{Err: ra.Later("order 7b", 0, "somebody looks at it")})
	waits("after half a day", "order 7b", 30*time.Second)
	b.upstream.Set(ratest.Knobs{Down: true})
	if _, err := b.enroll(t, b.request(t, ratest.User)); err == nil {
		t.Error("a CA that is down has issued")
	}
	// It keeps to the times that it was told half a day ago.
	told := b.upstream.Orders()[0]
	b.upstream.Set(ratest.Knobs{Mutate: func(c *x509.Certificate) { c.NotBefore, c.NotAfter = told.NotBefore(), told.NotAfter() }})
	out, err := b.enroll(t, b.request(t, ratest.User))
	first := issued(t, out, err)
	b.want(t, "in the end", "1 issued")
	orders := b.upstream.Orders()
	if len(orders) != 4 || orders[0].Ref() != "" || orders[1].Ref() != "order 7" || orders[3].Ref() != "order 7b" {
		t.Fatalf("%d orders", len(orders))
	}
	for _, o := range orders[1:] {
		if o.RequestID() != orders[0].RequestID() || o.Serial().Cmp(orders[0].Serial()) != 0 {
			t.Errorf("order %s, serial %x, and at first %s, %x", o.RequestID(), o.Serial(), orders[0].RequestID(), orders[0].Serial())
		}
	}
	out, err = b.enroll(t, b.request(t, ratest.User))
	if again := issued(t, out, err); !again.Equal(first) || len(b.upstream.Issued()) != 1 {
		t.Errorf("%d certificates were issued", len(b.upstream.Issued()))
	}
}

// What the CA refuses in the end is over: the next request is another one.
func TestACAThatDecidesLaterMayRefuse(t *testing.T) {
	b := newBook(t)
	b.upstream.Set(ratest.Knobs{Err: ra.Later("order 7", 0, "")})
	if _, err := b.enroll(t, b.request(t, ratest.User)); err == nil {
		t.Fatal("it was issued")
	}
	b.upstream.Set(ratest.Knobs{Err: ra.Fail(ra.UpstreamRefused, "no", nil)})
	if _, err := b.enroll(t, b.request(t, ratest.User)); err == nil {
		t.Fatal("it was issued")
	}
	b.want(t, "refused", "")
	b.upstream.Set(ratest.Knobs{})
	out, err := b.enroll(t, b.request(t, ratest.User))
	issued(t, out, err)
	if o := b.upstream.Orders(); o[2].Ref() != "" || o[2].RequestID() == o[0].RequestID() {
		t.Errorf("the order %s, %q", o[2].RequestID(), o[2].Ref())
	}
}
