// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/caddy-est/estra/ra/flush"
)

// mostGrouped bounds how many writes share a commit.
const mostGrouped = 128

// errClosed is the answer to writes after Close.
var errClosed = errors.New("the store is closed")

// A writer makes changes one after the other on one connection, as SQLite
// wants it, and commits what waits together: a commit costs a flush of the
// disk, whatever is in it. A change that fails leaves the others alone.
//
// It flushes the log itself once SQLite has written it (synchronous=NORMAL, which
// leaves that to a checkpoint): SQLite's fsync writes the file's time as well, which
// takes twice as long and more. A commit can be read a moment before it is on the
// disk: settled waits for that.
type writer struct {
	conn *sql.Conn
	log  *os.File // the write-ahead log
	// committing is held until a commit is on the disk.
	committing sync.Mutex
	// unsure: a flush has failed, so nobody knows what is on the disk.
	unsure bool

	begin *sql.Stmt
	end   *sql.Stmt
	queue chan *write
	stop  chan struct{}
	ended chan struct{}
	once  sync.Once
}

type write struct {
	ctx   context.Context
	do    change
	alone bool
	err   error
	done  chan struct{}
}

// newWriter has a connection for itself, in which statements are ready. The database
// is in a file, and has a write-ahead log.
func newWriter(ctx context.Context, db *sql.DB, path string, statements []string) (_ *writer, prepared map[string]*sql.Stmt, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	w := &writer{conn: conn, queue: make(chan *write, mostGrouped), stop: make(chan struct{}), ended: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.release())
		}
	}()
	if prepared, err = ready(ctx, conn, append([]string{beginWrite, commitWrite}, statements...)); err != nil {
		return nil, nil, err
	}
	w.begin, w.end = prepared[beginWrite], prepared[commitWrite]
	if _, err = conn.ExecContext(ctx, "PRAGMA synchronous = NORMAL"); err != nil {
		return nil, nil, err
	}
	if w.log, err = os.OpenFile(path+"-wal", os.O_RDWR, 0); err != nil {
		return nil, nil, err
	}
	if err = flush.Folder(filepath.Dir(path)); err != nil {
		return nil, nil, err
	}
	go w.run()
	return w, prepared, nil
}

// release closes what is open.
func (w *writer) release() error {
	err := w.conn.Close()
	if w.log != nil {
		err = errors.Join(err, w.log.Close())
	}
	return err
}

// settled waits until what was committed is on the disk: what was read may be of a
// moment ago.
func (w *writer) settled() {
	w.committing.Lock()
	defer w.committing.Unlock()
}

// sure makes sure that what was committed is on the disk, after a flush that failed:
// the kernel may have forgotten what it didn't write. A checkpoint writes it anew.
func (w *writer) sure(ctx context.Context) error {
	if !w.unsure {
		return nil
	}
	var busy, frames, moved int
	if err := w.conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved); err != nil {
		return err
	}
	if busy != 0 {
		return errors.New("the disk has failed, and what it failed at can't be written again while others read")
	}
	w.unsure = false
	return nil
}

// The transaction isn't one of database/sql, which would start a goroutine for each
// and parse these anew. It begins with the write lock: none finds halfway that it
// can't have it.
const (
	beginWrite  = "BEGIN IMMEDIATE"
	commitWrite = "COMMIT"
)

// writeMany implements committer. A file needs no bound.
func (w *writer) writeMany(ctx context.Context, _ int, do change) error { return w.write(ctx, do) }

// write implements committer.
func (w *writer) write(ctx context.Context, do change) error {
	return w.submit(&write{ctx: ctx, do: do, done: make(chan struct{})})
}

// writeAlone implements committer. A statement that fails undoes itself.
func (w *writer) writeAlone(ctx context.Context, do change) error {
	return w.submit(&write{ctx: ctx, do: do, alone: true, done: make(chan struct{})})
}

func (w *writer) submit(job *write) error {
	select {
	case <-w.stop:
		return errClosed
	default:
	}
	select {
	case w.queue <- job:
	case <-w.stop:
		return errClosed
	case <-job.ctx.Done():
		return job.ctx.Err()
	}
	select {
	case <-job.done:
		return job.err
	case <-w.ended:
		select {
		case <-job.done: // in the last group
			return job.err
		default:
			return errClosed
		}
	}
}

// close implements committer.
func (w *writer) close() {
	w.once.Do(func() { close(w.stop) })
	<-w.ended
	_ = w.release() // closing it twice is nothing
}

func (w *writer) run() {
	defer close(w.ended)
	groups := flush.New(w.queue, w.stop, mostGrouped)
	for {
		select {
		case <-w.stop:
			return
		case first := <-w.queue:
			w.commit(groups.Take(first))
		}
	}
}

// commit makes the changes of a group in one transaction. It doesn't depend
// on the contexts of those who ask: one that ends would roll back all.
func (w *writer) commit(group []*write) {
	ctx := context.Background()
	defer func() {
		for _, job := range group {
			close(job.done)
		}
	}()
	fail := func(err error) {
		for _, job := range group {
			if job.err == nil {
				job.err = err
			}
		}
	}
	if err := w.sure(ctx); err != nil {
		fail(err)
		return
	}
	if _, err := w.begin.ExecContext(ctx); err != nil {
		fail(err)
		return
	}
	for _, job := range group {
		switch job.err = job.ctx.Err(); {
		case job.err != nil:
		case job.alone:
			job.err = guarded(ctx, w.conn, job.do)
		default:
			job.err = within(ctx, w.conn, job.do)
		}
	}
	w.committing.Lock()
	defer w.committing.Unlock()
	if _, err := w.end.ExecContext(ctx); err != nil {
		fail(err)
		_, _ = w.conn.ExecContext(ctx, "ROLLBACK") // it may have ended already
		return
	}
	if err := flush.Data(w.log); err != nil {
		w.unsure = true
		fail(err)
	}
}

// within makes a change under a savepoint, so that one that fails is undone
// alone.
func within(ctx context.Context, tx transaction, do change) (err error) {
	if _, err := tx.ExecContext(ctx, "SAVEPOINT change"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, undone := tx.ExecContext(ctx, "ROLLBACK TO change")
			err = errors.Join(err, undone)
		}
		_, released := tx.ExecContext(ctx, "RELEASE change")
		err = errors.Join(err, released)
	}()
	return guarded(ctx, tx, do)
}

// guarded makes an error of a panic: others share the connection.
func guarded(ctx context.Context, tx transaction, do change) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("a panic in a write: %v", v)
		}
	}()
	return do(ctx, tx)
}
