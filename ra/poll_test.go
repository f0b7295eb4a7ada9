// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/store"
)

// A polledBook is a book whose orders are asked for in the background too.
type polledBook struct{ *book }

func newPolledBook(t *testing.T) polledBook {
	t.Helper()
	b := newBook(t)
	b.authority.Pending, b.authority.Orders, b.authority.Claims = b.store.Pending(), b.store.Orders(), b.store.Claims()
	return polledBook{b}
}

// ordered has the CA take an order, and decide later.
func (b polledBook) ordered(t *testing.T) {
	t.Helper()
	b.upstream.Set(ratest.Knobs{Err: ra.Later("order 7", 90*time.Second, "somebody looks at it")})
	out, err := b.enroll(t, b.request(t, ratest.User))
	check(t, out, err, ra.Pending, ra.StatusPending)
	b.want(t, "ordered", "1 pending")
}

// poll asks for what is due, and says what came of each.
func (b polledBook) poll(t *testing.T) (all []ra.Polled) {
	t.Helper()
	due, err := b.store.Orders().Due(t.Context(), b.now, b.now.Add(time.Minute), b.now.Add(25*time.Hour), 10)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range due {
		done, err := b.authority.Poll(t.Context(), w, "poll")
		if err != nil || done.Unsettled != nil {
			t.Errorf("%v, %v", err, done.Unsettled)
		}
		all = append(all, done)
	}
	return all
}

func (b polledBook) one(t *testing.T, what string) ra.Polled {
	t.Helper()
	all := b.poll(t)
	if len(all) != 1 {
		t.Fatalf("%s: %d orders were due", what, len(all))
	}
	return all[0]
}

// kept are the orders that are asked for.
func (b polledBook) kept(t *testing.T, what string, want int) {
	t.Helper()
	list, err := b.store.Pending().List(t.Context(), b.now)
	if err != nil || len(list) != want {
		t.Errorf("%s: %d orders, %v; want %d", what, len(list), err, want)
	}
}

func TestTheCAIsAskedAgainBeforeTheDeviceComes(t *testing.T) {
	b := newPolledBook(t)
	b.ordered(t)
	b.now = b.now.Add(89 * time.Second)
	if all := b.poll(t); len(all) != 0 {
		t.Error("it is asked before it says")
	}
	b.now = b.now.Add(24 * time.Second) // an eighth as much again, and more
	b.upstream.Set(ratest.Knobs{Err: ra.Later("order 7b", 0, "somebody looks at it")})
	if p := b.one(t, "still"); p.Record != nil || p.Err == nil || p.Err.Kind != ra.Pending {
		t.Errorf("%+v", p)
	}
	if all := b.poll(t); len(all) != 0 {
		t.Error("it is asked again at once")
	}
	for name, e := range map[string]error{
		"down": ra.Fail(ra.UpstreamDown, "down", nil), "no answer": context.DeadlineExceeded, "the credential": ra.Fail(ra.UpstreamRefused, "401", ra.ErrCredential),
	} {
		b.now = b.now.Add(2 * time.Minute)
		b.upstream.Set(ratest.Knobs{Err: e})
		if p := b.one(t, name); p.Record != nil || p.Err == nil {
			t.Errorf("%s: %+v", name, p)
		}
		b.want(t, name, "1 pending")
	}
	b.now = b.now.Add(2 * time.Minute)
	b.upstream.Set(ratest.Knobs{})
	p := b.one(t, "it has decided")
	r := p.Record
	if p.Err != nil || r == nil || r.ID != "poll" || r.Outcome != audit.Text(ra.StatusIssued) || r.Cert == nil || r.Pending.ID != "00000000000000000000000000000001" || r.Who.ID != audit.Text(ratest.User) || r.Upstream.Name != ratest.Upstream {
		t.Fatalf("%+v, %+v", p, r)
	}
	b.want(t, "it has decided", "1 issued")
	b.kept(t, "it has decided", 0)
	orders := b.upstream.Orders()
	for _, o := range orders[1:] {
		if o.RequestID() != orders[0].RequestID() || o.Serial().Cmp(orders[0].Serial()) != 0 || o.Ref() == "" {
			t.Errorf("order %s, %q, serial %x", o.RequestID(), o.Ref(), o.Serial())
		}
	}
	b.upstream.Set(ratest.Knobs{Down: true})
	out, err := b.enroll(t, b.request(t, ratest.User))
	if got := issued(t, out, err); !got.Equal(p.Outcome.Certificate) || out.Replays == "" {
		t.Error("the device gets another one")
	}
}

// The device is told once that the CA has refused. What it asks for then is new.
func TestARefusalInTheBackgroundReachesTheDevice(t *testing.T) {
	b := newPolledBook(t)
	b.ordered(t)
	b.now = b.now.Add(5 * time.Minute)
	b.upstream.Set(ratest.Knobs{Err: ra.Fail(ra.UpstreamRefused, "not this one", nil)})
	p := b.one(t, "refused")
	if p.Err.Kind != ra.UpstreamRefused || p.Record == nil || p.Record.Outcome != audit.Text(ra.StatusFailed) || !strings.Contains(p.Record.Reason.String(), "not this one") {
		t.Errorf("%+v, %+v", p, p.Record)
	}
	b.want(t, "refused", "1 pending")
	b.now = b.now.Add(time.Hour)
	if all := b.poll(t); len(all) != 0 {
		t.Error("it is asked for what it has refused")
	}
	asked := len(b.upstream.Orders())
	out, err := b.enroll(t, b.request(t, ratest.User))
	if e := check(t, out, err, ra.UpstreamRefused, ra.StatusFailed); !strings.Contains(e.Text(), "not this one") || len(b.upstream.Orders()) != asked {
		t.Errorf("%v, %d orders", e, len(b.upstream.Orders()))
	}
	b.want(t, "told", "")
	b.kept(t, "told", 0)
	b.upstream.Set(ratest.Knobs{})
	out, err = b.enroll(t, b.request(t, ratest.User))
	issued(t, out, err)
	if o := b.upstream.Orders(); o[len(o)-1].Ref() != "" {
		t.Error("it is the same order")
	}
}

func TestPollingEndsWithTheOrder(t *testing.T) {
	for name, ends := range map[string]func(t *testing.T, b polledBook){
		"its time is over": func(_ *testing.T, b polledBook) { b.now = b.now.Add(ra.DefaultPendingFor) },
		"the device was faster": func(t *testing.T, b polledBook) {
			b.upstream.Set(ratest.Knobs{})
			out, err := b.enroll(t, b.request(t, ratest.User))
			issued(t, out, err)
		},
		"the device was told that it is refused": func(t *testing.T, b polledBook) {
			b.upstream.Set(ratest.Knobs{Err: ra.Fail(ra.UpstreamRefused, "no", nil)})
			out, err := b.enroll(t, b.request(t, ratest.User))
			check(t, out, err, ra.UpstreamRefused, ra.StatusFailed)
		},
		"somebody takes it back": func(t *testing.T, b polledBook) {
			by, err := ra.StatedApprover("anna")
			if err != nil {
				t.Fatal(err)
			}
			id := fmt.Sprintf("%032d", 1)
			j := ra.Judgement{By: by, Approves: true, ID: "said", Write: func(context.Context, *audit.Record) error { return nil }}
			if _, err := b.authority.Judge(t.Context(), id, j); !errors.Is(err, store.ErrTaken) {
				t.Errorf("somebody approves it: %v", err)
			}
			j.Approves, j.Note, j.Disclose = false, "the wrong depot", true
			if _, err := b.authority.Judge(t.Context(), id, j); err != nil {
				t.Error(err)
			}
			out, err := b.enroll(t, b.request(t, ratest.User))
			if e := check(t, out, err, ra.Refused, ra.StatusRefused); !strings.Contains(e.Public, "the wrong depot") {
				t.Errorf("the device reads %q", e.Public)
			}
			b.want(t, "taken back", "1 pending")
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newPolledBook(t)
			b.ordered(t)
			ends(t, b)
			b.now = b.now.Add(time.Hour)
			if all := b.poll(t); len(all) != 0 {
				t.Errorf("it is asked for: %+v", all[0])
			}
		})
	}
}

// What the CA issues against the decision is withheld, as ever.
func TestWhatIsPolledIsCompared(t *testing.T) {
	b := newPolledBook(t)
	b.ordered(t)
	b.now = b.now.Add(5 * time.Minute)
	b.upstream.Set(ratest.Knobs{Mutate: func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }})
	p := b.one(t, "withheld")
	if p.Err.Kind != ra.Nonconforming || p.Record == nil || p.Record.Conforms == nil || *p.Record.Conforms || p.Record.Cert == nil {
		t.Errorf("%+v, %+v", p, p.Record)
	}
	b.want(t, "withheld", "1 withheld revoked")
	b.kept(t, "withheld", 0)
}

// By another policy it is another certificate: the device's repeat orders that.
func TestAnotherPolicyEndsPolling(t *testing.T) {
	b := newPolledBook(t)
	b.ordered(t)
	b.now = b.now.Add(5 * time.Minute)
	asked := len(b.upstream.Orders())
	b.authority.Policy = ratest.Policy(t, strings.Replace(ratest.Permissive, "[clientAuth, serverAuth]", "[clientAuth]", 1))
	p := b.one(t, "another plan")
	if p.Record != nil || len(b.upstream.Orders()) != asked {
		t.Errorf("%+v", p)
	}
	b.kept(t, "another plan", 0)
}

func TestWithoutAStoreNothingIsPolled(t *testing.T) {
	b := newPolledBook(t)
	b.authority.Orders = nil
	b.ordered(t)
	b.kept(t, "no orders", 0)
}
