// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/store/storetest"
)

// moody is a CA that now and then loses a request or an answer, is busy, or can't
// revoke.
type moody struct {
	*ratest.CA
	mu   sync.Mutex
	calm bool
	left map[string]map[string]bool // valid serial numbers by key
}

func (m *moody) mood(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.calm {
		return n
	}
	return rand.IntN(n)
}

func (m *moody) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	mood := m.mood(6)
	switch mood {
	case 0:
		return ra.Issued{}, ra.Fail(ra.UpstreamTimeout, "lost on the way", nil)
	case 1:
		return ra.Issued{}, ra.Fail(ra.Busy, "busy", nil)
	}
	issued, err := m.CA.Issue(ctx, o)
	if err != nil {
		return issued, err
	}
	m.mu.Lock()
	key := string(issued.Certificate.RawSubjectPublicKeyInfo)
	if m.left[key] == nil {
		m.left[key] = make(map[string]bool)
	}
	m.left[key][issued.Certificate.SerialNumber.String()] = true
	m.mu.Unlock()
	if mood == 2 {
		return ra.Issued{}, ra.Fail(ra.UpstreamTimeout, "the answer is lost", nil)
	}
	return issued, nil
}

func (m *moody) RevokeSerial(_ context.Context, serial *big.Int, _ *x509.Certificate, _ time.Time, _ int) error {
	if m.mood(4) == 0 {
		return ra.Fail(ra.UpstreamDown, "down", nil)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, serials := range m.left {
		delete(serials, serial.String())
	}
	return nil
}

// Two nodes share a PostgreSQL and a CA that fails in all ways. Devices send
// their requests to both, several at once, until they have an answer.
func TestAtTwoNodesEachRequestHasOneValidCertificate(t *testing.T) {
	server, err := storetest.NewPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Remove(); err != nil {
			t.Error(err)
		}
	})
	b := newScene(t)
	ca := &moody{CA: b.upstream, left: make(map[string]map[string]bool)}
	b.ca.Upstream = ca
	var nodes []*ra.Authority
	for i := range 2 {
		s, err := store.OpenPostgres(t.Context(), server.DSN("postgres"), store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		nodes = append(nodes, &ra.Authority{
			Policy: b.authority.Policy, CAs: b.authority.CAs, Now: b.authority.Now, Ledger: s.Certificates(), Node: fmt.Sprint("node ", i),
		})
	}
	const devices, attempts = 12, 6
	var all sync.WaitGroup
	var mu sync.Mutex
	got := make([]map[string]bool, devices)
	ask := func(node *ra.Authority, d int, id string) error {
		r := request(t, "simpleenroll", ratest.User, csrtest.Signer(csrtest.Key(t, fmt.Sprint("P-256/", d))))
		r.ID = id
		out, err := node.Enroll(context.Background(), b.profile, r)
		if err == nil {
			mu.Lock()
			got[d][out.Certificate.SerialNumber.String()] = true
			mu.Unlock()
		}
		return err
	}
	for d := range devices {
		got[d] = make(map[string]bool)
		for n := range attempts {
			all.Go(func() {
				err := ask(nodes[n%2], d, fmt.Sprintf("%02d-%02d", d, n))
				var e *ra.Error
				if err != nil && (!errors.As(err, &e) || e.Kind != ra.UpstreamTimeout && e.Kind != ra.UpstreamDown && e.Kind != ra.Busy) {
					t.Errorf("device %d: %v", d, err)
				}
			})
		}
	}
	all.Wait()
	ca.mu.Lock()
	ca.calm = true
	ca.mu.Unlock()
	for d := range devices {
		if err := ask(nodes[d%2], d, fmt.Sprintf("%02d-end", d)); err != nil {
			t.Errorf("device %d in the end: %v", d, err)
		}
		if len(got[d]) != 1 {
			t.Errorf("device %d has got %d certificates", d, len(got[d]))
		}
	}
	for key, serials := range ca.left {
		if len(serials) != 1 {
			t.Errorf("of one key (%x) %d certificates are valid", key[len(key)-4:], len(serials))
		}
	}
}
