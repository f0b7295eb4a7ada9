// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddy-est/estra/ra/store"
)

const (
	// importedAtOnce is how many entries are written with one commit.
	importedAtOnce = 5000
	// certificateSize is that of the certificates which are enrolled here, about.
	certificateSize = 650
)

// inventory holds Estra with so many certificates in its store against the same
// with none.
func (b *bench) inventory(ctx context.Context) error {
	none, err := b.estra(ctx, nil)
	if err != nil {
		return err
	}
	dir := b.folder("estra")
	if err := fill(ctx, filepath.Join(dir, "data", "caddy", "est", "store.db"), b.kept); err != nil {
		return err
	}
	many, err := b.keep(startCaddy(ctx, dir, estSite, b.anchor(), nil))
	if err != nil {
		return err
	}
	base := b.table.row("Estra, embedded CA, no certificates in the store, kept connections", nil, 0)
	return b.race(ctx, "inventory", []lane{
		{row: base, server: none, job: job{Kind: "enrol"}},
		{row: b.table.row(fmt.Sprintf("the same, %d certificates in the store", b.kept), base, 0.95), server: many, job: job{Kind: "enrol"}},
	})
}

// fill makes a store with entries of the last 90 days, with ids and serial numbers
// that go up with time as those of requests do, and hashes that are random.
func fill(ctx context.Context, file string, count int) (err error) {
	s, err := store.OpenSQLite(ctx, file, store.Options{Create: true})
	if err != nil {
		return err
	}
	defer func() {
		if closed := s.Close(); err == nil {
			err = closed
		}
	}()
	now := time.Now()
	pace := 90 * 24 * time.Hour / time.Duration(count)
	for done := 0; done < count; done += importedAtOnce {
		entries := make([]store.Certificate, 0, importedAtOnce)
		for i := done; i < min(done+importedAtOnce, count); i++ {
			entries = append(entries, imported(now.Add(-pace*time.Duration(count-i))))
		}
		if _, _, err := s.Certificates().Import(ctx, entries, now); err != nil {
			return err
		}
	}
	return nil
}

// imported is the entry of a certificate that nobody can parse.
func imported(at time.Time) store.Certificate {
	der := make([]byte, certificateSize)
	_, _ = rand.Read(der) // it never fails
	sum := sha256.Sum256(der)
	name := "device-" + hex.EncodeToString(sum[:6]) + ".example.net"
	return store.Certificate{
		ID: fmt.Sprintf("%012x%x", at.UnixMilli(), sum[:10]), Serial: fmt.Sprintf("%012x%x", at.UnixMilli(), sum[10:20]),
		Upstream: "internal", Profile: "bench", Names: "CN=" + name + " DNS:" + name, SPKI: sum,
		NotBefore: at, NotAfter: at.AddDate(1, 0, 0), Asked: at, Changed: at, SHA256: sum, DER: der,
	}
}
