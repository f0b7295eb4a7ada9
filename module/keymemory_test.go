// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-est/estra/policy"
)

// A memoryStorage keeps values in memory, and fails when it is told to.
type memoryStorage struct {
	certmagic.Storage // nil: what isn't here isn't used

	mu     sync.Mutex
	values map[string]string
	fail   error
	stores int
}

func newMemoryStorage() *memoryStorage { return &memoryStorage{values: make(map[string]string)} }

func (s *memoryStorage) Store(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.stores++
		s.values[key] = string(value)
	}
	return s.fail
}

func (s *memoryStorage) Load(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, ok := s.values[key]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return []byte(value), s.fail
}

func (s *memoryStorage) Delete(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.values, key)
	return s.fail
}

func (s *memoryStorage) List(context.Context, string, bool) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.values {
		names = append(names, name)
	}
	if len(names) == 0 {
		return nil, fs.ErrNotExist
	}
	return names, s.fail
}

func (s *memoryStorage) setFail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

func (s *memoryStorage) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.values)
}

func spkiOf(i int) [sha256.Size]byte { return sha256.Sum256(fmt.Append(nil, "key ", i)) }

func holderOf(i int) policy.KeyHolder {
	return policy.KeyHolder{Names: sha256.Sum256(fmt.Append(nil, "names ", i)), Serial: fmt.Sprintf("%040x", i)}
}

func openKeys(t testing.TB, storage certmagic.Storage) (*keyMemory, *observer.ObservedLogs) {
	t.Helper()
	m := newKeyMemory()
	core, logs := observer.New(zap.InfoLevel)
	if err := m.open(t.Context(), storage, zap.New(core)); err != nil {
		t.Fatal(err)
	}
	return m, logs
}

func closeKeys(t testing.TB, m *keyMemory) {
	t.Helper()
	if err := m.Destruct(); err != nil {
		t.Error(err)
	}
}

// use takes a key's turn, and ends it.
func use(t testing.TB, m *keyMemory, i int, certified *policy.KeyHolder) *policy.KeyHolder {
	t.Helper()
	holder, done, err := m.Take(t.Context(), spkiOf(i))
	if err != nil {
		t.Fatal(err)
	}
	done(certified)
	return holder
}

func certify(t testing.TB, m *keyMemory, i int) {
	t.Helper()
	holder := holderOf(i)
	use(t, m, i, &holder)
}

func holds(t testing.TB, m *keyMemory, i int, want policy.KeyHolder) {
	t.Helper()
	if got := use(t, m, i, nil); got == nil || *got != want {
		t.Errorf("key %d is held by %+v, want %+v", i, got, want)
	}
}

func TestKeysOutliveARestart(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	m, _ := openKeys(t, storage)
	for i := range 2*segmentKeys + 10 {
		certify(t, m, i)
	}
	other := holderOf(77)
	use(t, m, 3, &other)
	none := policy.KeyHolder{Names: holderOf(4).Names, Serial: "not a number"}
	use(t, m, 4, &none)
	if got := use(t, m, -1, nil); got != nil {
		t.Errorf("a new key is held by %+v", got)
	}
	closeKeys(t, m)
	files, _ := filepath.Glob(filepath.Join(storage.Path, "est/keys/*.txt"))
	if len(files) != 3 {
		t.Errorf("files: %v", files)
	}
	for range 2 { // what is read is written again as it was
		m, logs := openKeys(t, storage)
		for _, i := range []int{0, 1, segmentKeys, 2*segmentKeys + 9} {
			holds(t, m, i, holderOf(i))
		}
		holds(t, m, 3, holderOf(77))
		holds(t, m, 4, policy.KeyHolder{Names: holderOf(4).Names})
		if got := use(t, m, -1, nil); got != nil {
			t.Errorf("a new key is held by %+v", got)
		}
		if logs.Len() > 0 {
			t.Errorf("logged: %v", logs.All())
		}
		closeKeys(t, m)
	}
}

func TestKeysAreWrittenInTheBackgroundAndNotOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		storage := newMemoryStorage()
		m, logs := openKeys(t, storage)
		for i := range 100 {
			certify(t, m, i)
		}
		if storage.size() != 0 {
			t.Error("a request waited for the storage")
		}
		time.Sleep(keysEvery + time.Millisecond)
		synctest.Wait()
		if storage.stores != 1 {
			t.Errorf("%d writes of 100 keys", storage.stores)
		}
		storage.setFail(errors.New("disk full"))
		certify(t, m, 100)
		time.Sleep(10 * keysEvery)
		storage.setFail(nil)
		time.Sleep(2 * keysEvery)
		synctest.Wait()
		var said []string
		for _, entry := range logs.All() {
			said = append(said, entry.Level.String()+" "+entry.Message)
		}
		if want := []string{
			"error the keys that were certified can't be written; a restart would forget them",
			"info the keys that were certified are written again",
		}; !slices.Equal(said, want) {
			t.Errorf("logged: %q", said)
		}
		closeKeys(t, m)
		again, _ := openKeys(t, storage)
		holds(t, again, 100, holderOf(100))
		closeKeys(t, again)
	})
}

func TestBeyondTheBoundTheOldestKeysAreForgotten(t *testing.T) {
	storage := newMemoryStorage()
	m, _ := openKeys(t, storage)
	m.most = 2 * segmentKeys
	for i := range 4 * segmentKeys {
		certify(t, m, i)
	}
	certify(t, m, 1) // of the oldest, and again now
	if err := m.flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.forget(t.Context())
	if len(m.held) > m.most || m.count > m.most || storage.size() > 3 {
		t.Errorf("%d keys in memory, %d counted, %d segments stored", len(m.held), m.count, storage.size())
	}
	if use(t, m, 2, nil) != nil {
		t.Error("the oldest key is known")
	}
	holds(t, m, 1, holderOf(1))
	holds(t, m, 4*segmentKeys-1, holderOf(4*segmentKeys-1))
	closeKeys(t, m)
}

func TestSmallSegmentsAreMergedAtAStart(t *testing.T) {
	storage := newMemoryStorage()
	for i := range mostSmall + 5 {
		m, _ := openKeys(t, storage)
		certify(t, m, i)
		other := holderOf(1000 + i)
		use(t, m, 0, &other)
		closeKeys(t, m)
	}
	if storage.size() > mostSmall+1 {
		t.Errorf("%d segments of %d keys", storage.size(), mostSmall+5)
	}
	m, _ := openKeys(t, storage)
	for i := 1; i < mostSmall+5; i++ {
		holds(t, m, i, holderOf(i))
	}
	holds(t, m, 0, holderOf(1000+mostSmall+4))
	closeKeys(t, m)
}

// One bad line, or one bad file, must neither hold up the start nor lose the
// rest. A storage that can't be read at all must not pass for an empty one.
func TestDamagedSegmentsLoseNoOtherKey(t *testing.T) {
	storage := newMemoryStorage()
	m, _ := openKeys(t, storage)
	for i := range 3 {
		certify(t, m, i)
	}
	closeKeys(t, m)
	for name, value := range storage.values {
		lines := strings.SplitAfter(value, "\n")
		lines[2] = lines[2][:40] + "x" + lines[2][41:]
		storage.values[name] = strings.Join(lines, "") + "torn at the en"
	}
	storage.values["est/keys/0.txt"] = "estra keys 2\nsomething else\n"
	m, logs := openKeys(t, storage)
	holds(t, m, 0, holderOf(0))
	holds(t, m, 2, holderOf(2))
	if use(t, m, 1, nil) != nil {
		t.Error("a line that can't be read has a holder")
	}
	if logs.Len() != 2 || !strings.Contains(fmt.Sprint(logs.All()[1].ContextMap()["error"]), "2 lines can't be read, the first is line 3") {
		t.Errorf("logged: %v", logs.All())
	}
	closeKeys(t, m)
	storage.setFail(errors.New("no permission"))
	broken := newKeyMemory()
	if err := broken.open(t.Context(), storage, zap.NewNop()); err == nil {
		t.Error("a storage that can't be read is taken for an empty one")
	}
	if _, _, err := broken.Take(t.Context(), spkiOf(1)); err == nil {
		t.Error("a key is new where nothing is known")
	}
}

func TestATurnEndsTheWaitOfTheNext(t *testing.T) {
	m, _ := openKeys(t, newMemoryStorage())
	defer closeKeys(t, m)
	var inside, wait = 0, sync.WaitGroup{}
	for i := range 50 {
		wait.Go(func() {
			_, done, err := m.Take(t.Context(), spkiOf(1))
			if err != nil {
				t.Error(err)
				return
			}
			inside++ // the race detector, too, sees two at once
			if inside != 1 {
				t.Errorf("%d requests with one key", inside)
			}
			inside--
			held := holderOf(i)
			done(&held)
		})
	}
	wait.Wait()
	if len(m.turns) != 0 {
		t.Errorf("%d turns are left", len(m.turns))
	}
	_, done, err := m.Take(t.Context(), spkiOf(2))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := m.Take(ctx, spkiOf(2)); !errors.Is(err, context.Canceled) {
		t.Errorf("a client that hangs up waits on: %v", err)
	}
	done(nil)
}

func TestConfigurationsOfOneStorageShareTheKeys(t *testing.T) {
	path := t.TempDir()
	first, name, err := shareKeys(&certmagic.FileStorage{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	second, again, _ := shareKeys(&certmagic.FileStorage{Path: path})
	other, otherName, _ := shareKeys(&certmagic.FileStorage{Path: t.TempDir()})
	if first != second || first == other || name != again {
		t.Errorf("%p %p %p of %q %q", first, second, other, name, otherName)
	}
	for _, m := range []*keyMemory{first, second} { // a reload
		if err := m.open(t.Context(), &certmagic.FileStorage{Path: path}, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
	}
	if deleted, err := keyMemories.Delete(name); deleted || err != nil {
		t.Errorf("the old configuration's end: %v, %v", deleted, err)
	}
	certify(t, second, 1)
	for _, name := range []string{name, otherName} {
		if deleted, err := keyMemories.Delete(name); !deleted || err != nil {
			t.Errorf("the last configuration's end: %v, %v", deleted, err)
		}
	}
	m, _ := openKeys(t, &certmagic.FileStorage{Path: path})
	holds(t, m, 1, holderOf(1))
	closeKeys(t, m)
}

func FuzzReadSegment(f *testing.F) {
	f.Add([]byte(keysHead + string(appendKey(nil, spkiOf(1), holding(holderOf(1), 0)))))
	f.Add([]byte(keysHead + strings.Repeat("0", 64) + " " + strings.Repeat("f", 64) + " -\n\n"))
	f.Add([]byte("estra keys 2\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		text := []byte(keysHead)
		err := readSegment(src, func(id keyID, held heldKey) { text = appendKey(text, id, held) })
		if err == nil && !strings.EqualFold(string(text), string(src)) {
			t.Errorf("%q comes back as %q", src, text)
		}
	})
}

func BenchmarkKeys(b *testing.B) {
	m, _ := openKeys(b, &certmagic.FileStorage{Path: b.TempDir()})
	b.Cleanup(func() { closeKeys(b, m) })
	certify(b, m, 1)
	known, holder := spkiOf(1), holderOf(1)
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, done, _ := m.Take(context.Background(), known)
			done(nil)
		}
	})
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			id := known
			id[0], id[1], id[2], id[3] = byte(i), byte(i>>8), byte(i>>16), 1
			_, done, _ := m.Take(context.Background(), id)
			done(&holder)
		}
	})
}
