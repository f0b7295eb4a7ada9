// SPDX-License-Identifier: Apache-2.0

package chain

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-est/estra/ra/filelock"
	"github.com/caddy-est/estra/ra/flush"
	"github.com/caddy-est/estra/ra/steady"
)

// Settings of a Journal. The zero value of a field is its default.
type Settings struct {
	Node string
	// Key signs checkpoints. Required.
	Key ed25519.PrivateKey
	// Records and Interval: a checkpoint comes after so many records (default
	// 1,000), and so long after a record (default 1 min).
	Records  int
	Interval time.Duration
	// FileSize is when a new file begins, in bytes; default 64 MiB.
	FileSize int64
	// Keep is how long a file is kept after its last line; 0: for ever.
	Keep time.Duration
	// Changed is told at once why nothing can be written, and with nil when it
	// can be again. It is called by one goroutine after the other.
	Changed func(error)
	// Signed is told of each checkpoint's head: whoever keeps it elsewhere can
	// tell later whether the end of the chain was cut off.
	Signed func(Head)
	// Pruned is told of files that were removed after Keep, or why they can't be.
	Pruned func(files int, err error)
}

func (s Settings) defaults() Settings {
	if s.Records <= 0 {
		s.Records = 1000
	}
	if s.Interval <= 0 {
		s.Interval = time.Minute
	}
	if s.FileSize <= 0 {
		s.FileSize = 64 << 20
	}
	if s.Changed == nil {
		s.Changed = func(error) {}
	}
	if s.Signed == nil {
		s.Signed = func(Head) {}
	}
	if s.Pruned == nil {
		s.Pruned = func(int, error) {}
	}
	return s
}

// A Journal writes a chain into the files of a folder. It is safe for
// concurrent use: records that wait together share a flush of the disk.
type Journal struct {
	queue   chan *entry
	sets    chan Settings
	stop    chan struct{}
	ended   chan struct{}
	once    sync.Once
	failed  atomic.Pointer[error]
	lock    io.Closer
	closing error // once ended is closed

	// What follows is for run alone.
	folder   string
	open     func(path string, flag int) (file, error)
	id       string
	settings Settings
	file     file
	path     string
	head     Head  // that is on the disk
	size     int64 // of the file up to it
	unsigned int   // records since the last checkpoint
	signed   time.Time
	clock    steady.Clock
	buffer   []byte
}

// A file is what a journal needs of one.
type file interface {
	io.WriterAt
	Sync() error
	Truncate(size int64) error
	Stat() (os.FileInfo, error)
	Close() error
}

type entry struct {
	record []byte
	err    error
	done   chan struct{}
}

// mostGrouped bounds how many records share a flush.
const mostGrouped = 1024

var errClosed = errors.New("the audit chain is closed")

// Open goes on with the chain in a folder, or begins one. Another process that
// opens the folder gets an error: a chain has one writer.
func Open(folder string, s Settings) (*Journal, error) {
	return open(folder, s, func(path string, flag int) (file, error) { return os.OpenFile(path, flag, 0o600) })
}

func open(folder string, s Settings, opener func(path string, flag int) (file, error)) (_ *Journal, err error) {
	if len(s.Key) != ed25519.PrivateKeySize {
		return nil, errors.New("no key signs the checkpoints of the audit chain")
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	j := &Journal{
		queue: make(chan *entry, mostGrouped), sets: make(chan Settings), stop: make(chan struct{}), ended: make(chan struct{}),
		folder: folder, settings: s.defaults(), open: opener,
	}
	if j.lock, err = filelock.Take(filepath.Join(folder, "lock")); err != nil {
		return nil, fmt.Errorf("audit chain in %s: %w", folder, err)
	}
	if err := j.resume(); err != nil {
		return nil, errors.Join(fmt.Errorf("audit chain in %s: %w", folder, err), j.close())
	}
	go j.run()
	return j, nil
}

// Ready says why nothing can be written, or nil.
func (j *Journal) Ready() error {
	if failed := j.failed.Load(); failed != nil {
		return *failed
	}
	return nil
}

// Write adds a record, in JSON without line breaks. Without an error it is on
// the disk. When the context ends while the record is under way, nobody knows
// whether it will be.
func (j *Journal) Write(ctx context.Context, record []byte) error {
	if err := checkRecord(record); err != nil {
		return err
	}
	if err := j.Ready(); err != nil {
		return err
	}
	e := &entry{record: record, done: make(chan struct{})}
	select {
	case j.queue <- e:
	case <-j.ended:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-e.done:
		return e.err
	case <-ctx.Done():
		return ctx.Err()
	case <-j.ended:
		select {
		case <-e.done: // in the last group
			return e.err
		default:
			return errClosed
		}
	}
}

// Set changes the settings, as a new configuration has them.
func (j *Journal) Set(s Settings) {
	select {
	case j.sets <- s.defaults():
	case <-j.ended:
	}
}

// Close signs the end and closes the files.
func (j *Journal) Close() error {
	j.once.Do(func() { close(j.stop) })
	<-j.ended
	return j.closing
}

func (j *Journal) close() error {
	var err error
	if j.file != nil {
		err = j.file.Close()
	}
	return errors.Join(err, j.lock.Close())
}

// tick is how often a journal looks whether a checkpoint is due, or whether it
// can write again.
const tick = time.Second

func (j *Journal) run() {
	defer close(j.ended)
	clock := time.NewTicker(tick)
	defer clock.Stop()
	groups := flush.New(j.queue, j.stop, mostGrouped)
	for {
		select {
		case first := <-j.queue:
			j.commit(groups.Take(first))
		case s := <-j.sets:
			j.set(s)
		case <-clock.C:
			j.look()
		case <-j.stop:
			j.closing = errors.Join(j.finish(groups), j.close())
			return
		}
	}
}

// finish writes what waits, and signs the end.
func (j *Journal) finish(groups *flush.Queue[*entry]) error {
	for {
		select {
		case first := <-j.queue:
			j.commit(groups.Take(first))
			continue
		default:
		}
		if err := j.Ready(); err != nil {
			return err
		}
		return j.fail(j.checkpoint(Checkpoint{Why: Stopped}))
	}
}

// commit writes a group with one flush, and then what is due.
func (j *Journal) commit(group []*entry) {
	err := j.Ready()
	if err == nil {
		err = j.fail(j.records(group))
	}
	for _, e := range group {
		e.err = err
		close(e.done)
	}
	if err != nil {
		return
	}
	switch {
	case j.size >= j.settings.FileSize:
		_ = j.fail(j.rotate())
	case j.unsigned >= j.settings.Records:
		_ = j.fail(j.checkpoint(Checkpoint{Why: Due}))
	}
}

func (j *Journal) records(group []*entry) error {
	text, head := j.buffer[:0], j.head
	for _, e := range group {
		text, head = head.record(text, e.record)
	}
	if err := j.put(text, head); err != nil {
		return err
	}
	if j.unsigned == 0 {
		j.signed = time.Now() // the time runs from the first that isn't signed
	}
	j.unsigned += len(group)
	return nil
}

// mostBuffered bounds the buffer that is kept for the next group.
const mostBuffered = 4 << 20

// put writes lines behind the last that is known to be on the disk. After a
// failure nobody knows what is there: the next attempt writes over it.
func (j *Journal) put(text []byte, head Head) error {
	j.buffer = nil
	if cap(text) <= mostBuffered {
		j.buffer = text
	}
	_, err := j.file.WriteAt(text, j.size)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		return err
	}
	j.head, j.size = head, j.size+int64(len(text))
	return nil
}

func (j *Journal) checkpoint(c Checkpoint) error {
	c.Chain, c.Node, c.TS = j.id, j.settings.Node, time.Now().UTC()
	text, head, err := j.head.checkpoint(j.buffer[:0], c, j.settings.Key)
	if err != nil {
		return err
	}
	if err := j.put(text, head); err != nil {
		return err
	}
	j.unsigned = 0
	j.settings.Signed(head)
	return nil
}

// fail keeps why nothing can be written and tells of it, and that it is over
// when err is nil.
func (j *Journal) fail(err error) error {
	before := j.failed.Load()
	switch {
	case err != nil:
		err = fmt.Errorf("audit chain in %s: %w", j.folder, err)
		j.failed.Store(&err)
		if before == nil {
			j.settings.Changed(err)
		}
	case before != nil:
		j.failed.Store(nil)
		j.settings.Changed(nil)
	}
	return err
}

// look does what is due by the clock.
func (j *Journal) look() {
	_ = j.clock.Steady(time.Now(), steadyFor) // what it sees, prune asks for
	if j.Ready() != nil {
		j.recover()
		return
	}
	if !j.there() {
		_ = j.fail(fmt.Errorf("%s is no longer there", j.path))
		return
	}
	if j.unsigned > 0 && time.Since(j.signed) >= j.settings.Interval {
		_ = j.fail(j.checkpoint(Checkpoint{Why: Due}))
	}
}

// there says whether the file that is written is the one in the folder: what
// goes into one that was removed is lost.
func (j *Journal) there() bool {
	open, err := j.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(j.path)
	return err == nil && os.SameFile(open, named)
}

// recover tries whether a checkpoint can be written again. Where the file was
// removed a new one begins, with the number that is next: what is missing is
// seen.
func (j *Journal) recover() {
	var err error
	if j.there() {
		if err = j.file.Truncate(j.size); err == nil {
			err = j.checkpoint(Checkpoint{Why: Recovered})
		}
	} else {
		err = j.next(Recovered)
	}
	_ = j.fail(err)
}

func (j *Journal) set(s Settings) {
	if j.Ready() == nil && (!s.Key.Equal(j.settings.Key) || s.Node != j.settings.Node) {
		_ = j.fail(j.checkpoint(Checkpoint{Why: Rekeyed}))
	}
	j.settings = s
	if err := j.Ready(); err != nil {
		s.Changed(err)
	}
}
