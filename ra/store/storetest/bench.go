// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/store"
)

// Reserve measures reservations: each of a password of its own, by so many
// clients at once.
func Reserve(b *testing.B, s store.Store, clients int) {
	templates := make([]store.Template, b.N)
	for i := range templates {
		templates[i] = store.Template{Label: "routers", Expires: Now.Add(time.Hour)}
	}
	made, err := s.Passwords().Create(b.Context(), templates, Now)
	check(b, err)
	ids := make(chan string, len(made))
	for _, p := range made {
		ids <- p.ID
	}
	close(ids)
	b.ResetTimer()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for id := range ids {
				if err := s.Claims().Reserve(b.Context(), of(id, 1, 0)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// Issue measures entries, so many clients at once: each is asked for and ends,
// or begins as issued.
func Issue(b *testing.B, s store.Store, clients int, atOnce bool) {
	var next atomic.Int64
	random := rand.NewChaCha8([32]byte{1})
	var mu sync.Mutex
	entry := func(i int64) store.Certificate {
		c := asked(fmt.Sprintf("%012x-%020x", i, i), 0, 0)
		c.DER = make([]byte, 700)
		mu.Lock()
		_, _ = random.Read(c.DER) // it gives no error
		mu.Unlock()
		c.Request, c.SHA256 = sha256.Sum256(c.DER[:100]), sha256.Sum256(c.DER)
		c.Serial = fmt.Sprintf("4%09x", i) + hex.EncodeToString(c.SHA256[:15])
		return c
	}
	b.ResetTimer()
	began := cpuTime()
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				c := entry(i)
				end := store.CertificateEnd{ID: c.ID, State: store.CertificateIssued, DER: c.DER, SHA256: c.SHA256, Now: Now}
				if atOnce {
					c.State = store.CertificateIssued
				} else {
					c.DER, c.SHA256 = nil, [32]byte{}
				}
				if found, err := s.Certificates().Intend(b.Context(), c, Now); err != nil || found.Has != nil {
					b.Error(found.Has, err)
				}
				if !atOnce {
					if err := s.Certificates().Ended(b.Context(), end); err != nil {
						b.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64((cpuTime()-began).Microseconds())/float64(b.N), "CPU-µs/op")
}
