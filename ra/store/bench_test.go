// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"path/filepath"
	"testing"

	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/store/storetest"
)

// engines open an empty store of each engine.
var engines = map[string]func(testing.TB) store.Store{
	"SQLite": func(t testing.TB) store.Store {
		return open(t, filepath.Join(t.TempDir(), "store.db"), store.Options{Create: true})
	},
	"PostgreSQL": func(t testing.TB) store.Store { return connect(t, database(t)) },
}

// An operation is one reservation of a password of its own, on the disk.
func BenchmarkReserve(b *testing.B) {
	for engine, open := range engines {
		for name, clients := range map[string]int{"one client": 1, "64 clients": 64} {
			b.Run(engine+"/"+name, func(b *testing.B) {
				s := open(b)
				defer closed(b, s)
				storetest.Reserve(b, s, clients)
			})
		}
	}
}

// An operation is one certificate, which is asked for and issued in two writes, or
// in one.
func BenchmarkIssue(b *testing.B) {
	for engine, open := range engines {
		for name, atOnce := range map[string]bool{"two writes": false, "one write": true} {
			b.Run(engine+"/"+name, func(b *testing.B) {
				s := open(b)
				defer closed(b, s)
				storetest.Issue(b, s, 8, atOnce)
			})
		}
	}
}

// An operation is one look at a password that is right.
func BenchmarkVerify(b *testing.B) {
	for engine, open := range engines {
		b.Run(engine, func(b *testing.B) {
			s := open(b)
			defer closed(b, s)
			made, err := s.Passwords().Create(b.Context(), make([]store.Template, 10_000), storetest.Now)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := s.Passwords().Verify(b.Context(), made[77].Text, "x", storetest.Now); err == nil {
					b.Fatal("good at another label")
				}
			}
		})
	}
}
