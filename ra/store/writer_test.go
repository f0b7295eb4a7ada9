// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A write whose flush failed is no success, and before the next one what is in the
// log is written anew.
func TestAFlushThatFailsIsNoCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	opened, err := OpenSQLite(t.Context(), path, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	s := opened.(*sqlStore)
	w := s.writer.(*writer)
	put := func(n int) error {
		return w.write(t.Context(), func(ctx context.Context, tx transaction) error {
			_, err := tx.ExecContext(ctx, `INSERT INTO ca_lists (issuer, number, this_update, next_update, der, changes, covers) VALUES ($1, 0, 0, 0, $2, 0, 0)`, fmt.Sprint(n), []byte{})
			return err
		})
	}
	if err := put(1); err != nil {
		t.Fatal(err)
	}
	good := w.log
	broken, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := broken.Close(); err != nil {
		t.Fatal(err)
	}
	w.log = broken // no write is under way
	if err := put(2); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("the flush fails, and the write says %v", err)
	}
	if !w.unsure {
		t.Error("it is sure of what is on the disk")
	}
	w.log = good
	if err := put(3); err != nil || w.unsure {
		t.Errorf("the disk is well again: %v, and it is unsure: %v", err, w.unsure)
	}
	// The checkpoint has moved what was in doubt into the file, and emptied the log: it
	// has the last write alone, a header and a few frames.
	info, err := os.Stat(path + "-wal")
	if err != nil || info.Size() == 0 || info.Size() > 10*4200 {
		t.Errorf("the log has %v bytes: %v", info.Size(), err)
	}
	var synchronous int
	if err := w.conn.QueryRowContext(t.Context(), "PRAGMA synchronous").Scan(&synchronous); err != nil || synchronous != 1 {
		t.Errorf("synchronous is %d: %v", synchronous, err)
	}
}

// What can be read a moment before it is on the disk is waited for.
func TestAnEntryIsReadOnceItIsOnTheDisk(t *testing.T) {
	opened, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "store.db"), Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }()
	w := opened.(*sqlStore).writer.(*writer)
	c := Certificate{ID: "a", Request: [32]byte{1}, State: CertificateIssued, Serial: "01", DER: []byte{1}, SHA256: [32]byte{1}}
	if _, err := opened.Certificates().Intend(t.Context(), c, c.Asked); err != nil {
		t.Fatal(err)
	}
	w.committing.Lock()
	read := make(chan error)
	go func() {
		_, err := opened.Certificates().Current(context.Background(), c.Request)
		read <- err
	}()
	select {
	case err := <-read:
		t.Errorf("it was read while a commit was on its way to the disk: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	w.committing.Unlock()
	if err := <-read; err != nil {
		t.Error(err)
	}
}
