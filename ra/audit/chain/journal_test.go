// SPDX-License-Identifier: Apache-2.0

package chain

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func opened(t testing.TB, folder string, s Settings) *Journal {
	t.Helper()
	s.Key, s.Node = testKey, "node-1"
	j, err := Open(folder, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func closed(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func written(t testing.TB, j *Journal, records ...string) {
	t.Helper()
	for _, r := range records {
		if err := j.Write(t.Context(), []byte(r)); err != nil {
			t.Fatal(err)
		}
	}
}

// verified reads all files of a folder.
func verified(t testing.TB, folder string, v *Verifier) (Report, error) {
	t.Helper()
	names, err := Files(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.Read(name, bytes.NewReader(text), nil); err != nil {
			return Report{}, err
		}
	}
	return v.End()
}

func good(t testing.TB, folder string) Report {
	t.Helper()
	report, err := verified(t, folder, trusting(testPublic()))
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func TestAJournalGoesOnWhereItEnded(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "chain")
	for range 3 {
		j := opened(t, folder, Settings{})
		written(t, j, `{"a":1}`, `{"a":2}`)
		closed(t, j)
	}
	if r := good(t, folder); r.Records != 6 || r.Checkpoints != 6 || r.Unsigned != 0 || r.First != 1 {
		t.Errorf("%+v", r)
	}
}

func TestManyWritersMakeOneChain(t *testing.T) {
	folder := t.TempDir()
	j := opened(t, folder, Settings{Records: 50, FileSize: 8 << 10})
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			for k := range 20 {
				if err := j.Write(context.Background(), fmt.Appendf(nil, `{"who":%d,"what":%d}`, i, k)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	closed(t, j)
	names, _ := Files(folder)
	if r := good(t, folder); r.Records != 640 || r.Unsigned != 0 || len(names) < 3 {
		t.Errorf("%d files: %+v", len(names), r)
	}
}

func TestARecordIsOnTheDiskWhenWriteReturns(t *testing.T) {
	folder := t.TempDir()
	j := opened(t, folder, Settings{})
	written(t, j, `{"a":1}`)
	if r := good(t, folder); r.Records != 1 || r.Unsigned != 1 {
		t.Errorf("%+v", r)
	}
}

func TestACheckpointComesByTime(t *testing.T) {
	folder := t.TempDir()
	signed := make(chan Head, 8)
	j := opened(t, folder, Settings{Interval: time.Millisecond, Signed: func(h Head) { signed <- h }})
	<-signed // of the start
	written(t, j, `{"a":1}`)
	head := <-signed
	if r, err := verified(t, folder, &Verifier{Want: head}); err != nil || r.Unsigned != 0 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestWhatWasNotFinishedIsRemovedAndTold(t *testing.T) {
	for what, cut := range map[string]int{"a record": 5, "a checkpoint": 200} {
		folder := t.TempDir()
		j := opened(t, folder, Settings{})
		written(t, j, `{"a":1}`)
		closed(t, j)
		names, _ := Files(folder)
		text, err := os.ReadFile(names[0])
		if err != nil {
			t.Fatal(err)
		}
		torn := append(text, lines(text)[1][:cut%len(lines(text)[1])]...)
		if err := os.WriteFile(names[0], torn, 0o600); err != nil {
			t.Fatal(err)
		}
		closed(t, opened(t, folder, Settings{}))
		if r := good(t, folder); r.Records != 1 || len(r.Cuts) != 1 {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

func TestAFileWithoutItsFirstLineIsMadeAnew(t *testing.T) {
	folder := t.TempDir()
	j := opened(t, folder, Settings{})
	written(t, j, `{"a":1}`)
	closed(t, j)
	if err := os.WriteFile(filepath.Join(folder, fileName(4)), []byte(`{"seq":4`), 0o600); err != nil {
		t.Fatal(err)
	}
	closed(t, opened(t, folder, Settings{}))
	if r := good(t, folder); r.Records != 1 || r.Last != 5 {
		t.Errorf("%+v", r)
	}
}

func TestADamagedChainDoesNotGoOn(t *testing.T) {
	folder := t.TempDir()
	j := opened(t, folder, Settings{})
	written(t, j, `{"a":1}`, `{"a":2}`)
	closed(t, j)
	names, _ := Files(folder)
	text, _ := os.ReadFile(names[0])
	if err := os.WriteFile(names[0], bytes.Replace(text, []byte(`"a":1`), []byte(`"a":9`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	var d *Damage
	if _, err := Open(folder, Settings{Key: testKey}); !errors.As(err, &d) || d.Line != 2 {
		t.Errorf("%v", err)
	}
}

func TestAChainHasOneWriter(t *testing.T) {
	folder := t.TempDir()
	j := opened(t, folder, Settings{})
	if _, err := Open(folder, Settings{Key: testKey}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
	closed(t, j)
	closed(t, opened(t, folder, Settings{}))
	if err := j.Write(t.Context(), []byte(`{}`)); !errors.Is(err, errClosed) {
		t.Errorf("after its end: %v", err)
	}
}

func TestALineHoldsOneRecord(t *testing.T) {
	j := opened(t, t.TempDir(), Settings{})
	for _, record := range []string{"", "{\n}", strings.Repeat("x", MaxRecord+1)} {
		if err := j.Write(t.Context(), []byte(record)); err == nil {
			t.Errorf("%.20q is written", record)
		}
	}
	if err := j.Ready(); err != nil {
		t.Errorf("a record that can't be written is no failure of the chain: %v", err)
	}
}

// A flaky file fails at what it is told to.
type flaky struct {
	file
	write, sync *atomic.Bool
}

func (f flaky) WriteAt(p []byte, off int64) (int, error) {
	if f.write.Load() {
		n, _ := f.file.WriteAt(p[:len(p)/2], off)
		return n, errors.New("no space left on device")
	}
	return f.file.WriteAt(p, off)
}

func (f flaky) Sync() error {
	if f.sync.Load() {
		return errors.New("input/output error")
	}
	return f.file.Sync()
}

func (f flaky) Stat() (os.FileInfo, error) { return f.file.Stat() }

func TestAFailureIsToldAtOnceAndTheChainGoesOnWhenItIsOver(t *testing.T) {
	for what, at := range map[string]int{"write": 0, "sync": 1} {
		folder, bad := t.TempDir(), [2]atomic.Bool{}
		told := make(chan error, 8)
		j, err := open(folder, Settings{Key: testKey, Changed: func(err error) { told <- err }}, func(path string, flag int) (file, error) {
			f, err := os.OpenFile(path, flag, 0o600)
			return flaky{f, &bad[0], &bad[1]}, err
		})
		if err != nil {
			t.Fatal(err)
		}
		written(t, j, `{"a":1}`)
		bad[at].Store(true)
		if err := j.Write(t.Context(), []byte(`{"a":2}`)); err == nil || !strings.Contains(err.Error(), folder) {
			t.Errorf("%s: %v", what, err)
		}
		if err := <-told; err == nil || j.Ready() == nil {
			t.Errorf("%s: told %v, and ready: %v", what, err, j.Ready())
		}
		if err := j.Write(t.Context(), []byte(`{"a":3}`)); err == nil {
			t.Errorf("%s: a record was written while the chain has failed", what)
		}
		bad[at].Store(false)
		if err := <-told; err != nil || j.Ready() != nil {
			t.Errorf("%s: told %v, and ready: %v", what, err, j.Ready())
		}
		written(t, j, `{"a":4}`)
		closed(t, j)
		if r := good(t, folder); r.Records != 2 {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

func TestAFileThatIsRemovedIsNoticedAndMissed(t *testing.T) {
	folder := t.TempDir()
	told := make(chan error, 8)
	j := opened(t, folder, Settings{FileSize: 400})
	written(t, j, `{"a":1}`, `{"a":2}`, `{"a":3}`)
	// Taken once the file that is due has begun.
	j.Set(Settings{Key: testKey, Node: "node-1", Changed: func(err error) { told <- err }})
	names, _ := Files(folder)
	if len(names) < 2 {
		t.Fatal(names)
	}
	if err := os.Remove(names[len(names)-1]); err != nil {
		t.Fatal(err)
	}
	if err := <-told; err == nil || !strings.Contains(err.Error(), "no longer there") {
		t.Errorf("%v", err)
	}
	if err := <-told; err != nil {
		t.Errorf("%v", err)
	}
	written(t, j, `{"a":4}`)
	closed(t, j)
	if _, err := verified(t, folder, trusting(testPublic())); err == nil || !strings.Contains(err.Error(), "lines are missing") {
		t.Errorf("%v", err)
	}
}

func TestTheOldestFilesGoAndTheRestIsStillProven(t *testing.T) {
	folder := t.TempDir()
	pruned := make(chan int, 64)
	j := opened(t, folder, Settings{FileSize: 2000, Keep: time.Hour, Pruned: func(n int, err error) {
		if err != nil {
			t.Error(err)
		}
		pruned <- n
	}})
	for range 20 {
		written(t, j, `{"a":1}`)
	}
	names, _ := Files(folder)
	old := time.Now().Add(-2 * time.Hour)
	for _, name := range names[:2] {
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	for len(pruned) == 0 {
		written(t, j, `{"a":1}`)
	}
	closed(t, j)
	if n := <-pruned; n != 2 {
		t.Errorf("%d files were removed", n)
	}
	if r := good(t, folder); r.First == 1 || r.Unsigned != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAnotherKeyFollowsASignatureOfTheOld(t *testing.T) {
	folder := t.TempDir()
	j := opened(t, folder, Settings{})
	written(t, j, `{"a":1}`)
	second := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{3}, ed25519.SeedSize))
	j.Set(Settings{Key: second, Node: "node-1"})
	written(t, j, `{"a":2}`)
	closed(t, j)
	both := trusting(testPublic(), second.Public().(ed25519.PublicKey))
	if r, err := verified(t, folder, both); err != nil || len(r.Keys) != 2 || r.Unsigned != 0 {
		t.Errorf("%+v %v", r, err)
	}
	if _, err := verified(t, folder, trusting(testPublic())); err == nil {
		t.Error("a key that isn't known is taken")
	}
}

func TestAKeyIsMadeOnceAndRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "new", "checkpoint.key")
	made, err := KeptKey(name)
	if err != nil {
		t.Fatal(err)
	}
	again, err := KeptKey(name)
	if err != nil || !again.Equal(made) {
		t.Error(err)
	}
	public, err := ReadPublicKey(name + ".pub")
	if err != nil || !public.Equal(made.Public()) {
		t.Error(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	for _, wrong := range []string{"", "text", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if err := os.WriteFile(name, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := KeptKey(name); err == nil || !strings.Contains(err.Error(), "openssl genpkey") {
			t.Errorf("%q: %v", wrong, err)
		}
		if _, err := ReadPublicKey(name); err == nil {
			t.Errorf("%q is a public key", wrong)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	j := opened(b, b.TempDir(), Settings{FileSize: 1 << 30})
	record := fmt.Appendf(nil, `{"v":1,"input":"%s"}`, strings.Repeat("x", 3000))
	b.SetParallelism(4) // 8 workers on two cores
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := j.Write(context.Background(), record); err != nil {
				b.Error(err)
			}
		}
	})
}

func TestADiskThatHangsHoldsNobodyForEver(t *testing.T) {
	var hangs atomic.Bool
	release := make(chan struct{})
	j, err := open(t.TempDir(), Settings{Key: testKey}, func(path string, flag int) (file, error) {
		f, err := os.OpenFile(path, flag, 0o600)
		return hanging{f, &hangs, release}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	hangs.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := j.Write(ctx, []byte(`{"a":1}`)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	close(release)
	closed(t, j)
}

// A hanging file flushes when it is released.
type hanging struct {
	file
	hangs   *atomic.Bool
	release chan struct{}
}

func (h hanging) Sync() error {
	if h.hangs.Load() {
		<-h.release
	}
	return h.file.Sync()
}
