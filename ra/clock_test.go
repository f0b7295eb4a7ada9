// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// When the clock is beyond the CA's certificates it isn't asked: what it issued
// couldn't be compared.
func TestByAClockThatIsFarOffNothingIsIssued(t *testing.T) {
	for name, now := range map[string]time.Time{"before the CA": time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC), "after it": time.Date(2201, 1, 1, 0, 0, 0, 0, time.UTC)} {
		b := newBook(t)
		b.ca.Now = func() time.Time { return b.now }
		if err := b.ca.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		right := b.now
		b.now = now
		_, err := b.enroll(t, b.request(t, ratest.User))
		var e *ra.Error
		if !errors.As(err, &e) || e.Kind != ra.UpstreamDown || !strings.Contains(e.Text(), "by the clock of this server ("+now.Format("2006-01-02")) || len(b.upstream.Orders()) != 0 {
			t.Errorf("%s: %v, %d orders", name, err, len(b.upstream.Orders()))
		}
		b.want(t, name, "")
		b.now = right
		out, err := b.enroll(t, b.request(t, ratest.User))
		issued(t, out, err)
	}
}

// What comes when the clock has jumped too far to compare it is in doubt. It is no
// sign that the CA issues something else: nothing is stopped.
func TestWhatCannotBeComparedAfterTheClockJumpsIsRevoked(t *testing.T) {
	b := newBook(t)
	b.ca.Now = func() time.Time { return b.now }
	up := &bySerial{CA: b.upstream}
	b.ca.Upstream = up
	right := b.now
	for i := range 4 {
		b.upstream.Set(ratest.Knobs{Mutate: func(*x509.Certificate) { b.now = right.AddDate(200, 0, 0) }})
		out, err := b.enroll(t, b.request(t, ratest.User))
		if err == nil || out.Certificate != nil || out.Status != ra.StatusUnknown || b.ca.Stopped(out.Profile) {
			t.Fatalf("%d: %v, %+v", i, err, out)
		}
		b.now = right
	}
	b.upstream.Set(ratest.Knobs{})
	out, err := b.enroll(t, b.request(t, ratest.User))
	last := issued(t, out, err)
	all := b.upstream.Issued()
	if len(all) != 5 || !all[4].Equal(last) || len(up.revoked) != 4 {
		t.Errorf("%d issued, %d revoked", len(all), len(up.revoked))
	}
	for i, serial := range up.revoked {
		if got := fmt.Sprintf("%x", all[i].SerialNumber.Bytes()); got != serial {
			t.Errorf("revoked is %s, and issued was %s", serial, got)
		}
	}
}

// A certificate that has ended by a clock that is ahead is had again when the clock
// is right, where no other one was issued meanwhile.
func TestWhatHadEndedByAWrongClockIsGivenAgain(t *testing.T) {
	b := newBook(t)
	out, err := b.enroll(t, b.request(t, ratest.User))
	first := issued(t, out, err)
	b.upstream.Set(ratest.Knobs{Err: ra.Fail(ra.UpstreamRefused, "your token is of the future", nil)})
	right := b.now
	b.now = first.NotAfter.Add(time.Hour)
	if _, err := b.enroll(t, b.request(t, ratest.User)); err == nil {
		t.Fatal("it was issued")
	}
	b.now = right.Add(time.Minute)
	out, err = b.enroll(t, b.request(t, ratest.User))
	if again := issued(t, out, err); !again.Equal(first) {
		t.Error("it is another certificate")
	}
}

// A certificate that comes after another one was asked for is revoked.
func TestWhatComesTooLateIsRevoked(t *testing.T) {
	b := newBook(t)
	right := b.now
	b.upstream.Set(ratest.Knobs{Mutate: func(*x509.Certificate) {
		b.upstream.Set(ratest.Knobs{})
		b.now = right.Add(time.Hour) // its lease is over
		if out, err := b.enroll(t, b.request(t, ratest.User)); err != nil || out.Certificate == nil {
			t.Errorf("the second: %v", err)
		}
	}})
	out, err := b.enroll(t, b.request(t, ratest.User))
	if err == nil || out.Certificate != nil || !out.Withdrawn || len(b.upstream.Revoked()) != 1 || len(b.upstream.Issued()) != 2 {
		t.Errorf("%v, %d revoked of %d", err, len(b.upstream.Revoked()), len(b.upstream.Issued()))
	}
	b.want(t, "both", "1 issued revoked, 2 issued")
}
