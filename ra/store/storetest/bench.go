// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"sync"
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
