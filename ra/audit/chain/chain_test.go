// SPDX-License-Identifier: Apache-2.0

package chain

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

var testKey = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))

// A testLog is a chain as it is written: lines, and where files begin.
type testLog struct {
	t    testing.TB
	head Head
	id   string
	key  ed25519.PrivateKey
	text []byte
}

func newLog(t testing.TB, id string) *testLog {
	l := &testLog{t: t, id: id, key: testKey}
	l.checkpoint(Started)
	return l
}

func (l *testLog) checkpoint(why Reason) {
	l.t.Helper()
	var err error
	c := Checkpoint{Chain: l.id, Node: "node-1", TS: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC), Why: why}
	if l.text, l.head, err = l.head.checkpoint(l.text, c, l.key); err != nil {
		l.t.Fatal(err)
	}
}

func (l *testLog) records(n int) {
	for range n {
		l.text, l.head = l.head.record(l.text, fmt.Appendf(nil, `{"v":1,"id":"%s-%d","outcome":"issued"}`, l.id, l.head.Seq))
	}
}

// small is a chain of one file: checkpoint, 2 records, checkpoint, 3 records, checkpoint, 2 records.
func small(t testing.TB, id string) *testLog {
	l := newLog(t, id)
	for _, n := range []int{2, 3} {
		l.records(n)
		l.checkpoint(Due)
	}
	l.records(2)
	return l
}

func lines(text []byte) [][]byte { return slices.Collect(bytes.Lines(text)) }

func check(v *Verifier, files ...[]byte) (Report, error) {
	for i, f := range files {
		if err := v.Read(fmt.Sprintf("file-%d", i), bytes.NewReader(f), nil); err != nil {
			return Report{}, err
		}
	}
	return v.End()
}

func trusting(keys ...ed25519.PublicKey) *Verifier { return &Verifier{Keys: keys} }

func testPublic() ed25519.PublicKey { return testKey.Public().(ed25519.PublicKey) }

func TestAChainThatNobodyTouchedIsGood(t *testing.T) {
	l := small(t, "a")
	report, err := check(trusting(testPublic()), l.text)
	if err != nil {
		t.Fatal(err)
	}
	if report.First != 1 || report.Last != 10 || report.Records != 7 || report.Checkpoints != 3 || report.Unsigned != 2 ||
		report.Chain != "a" || report.Node != "node-1" || len(report.Keys) != 1 || report.Signed.IsZero() {
		t.Errorf("%+v", report)
	}
}

func TestEachByteCounts(t *testing.T) {
	good := small(t, "a").text
	for i := range good {
		for _, flip := range []byte{1, 0x20} {
			text := bytes.Clone(good)
			text[i] ^= flip
			if _, err := check(&Verifier{}, text); err == nil {
				t.Fatalf("byte %d of %q with %#x: nobody saw it", i, good[max(0, i-40):i+1], flip)
			}
		}
	}
}

func TestEachByteThatIsRemovedOrAddedCounts(t *testing.T) {
	good := small(t, "a").text
	for i := range good {
		if _, err := check(&Verifier{}, slices.Concat(good[:i], good[i+1:])); err == nil {
			t.Fatalf("byte %d removed: nobody saw it", i)
		}
		if _, err := check(&Verifier{}, slices.Concat(good[:i], []byte{good[i]}, good[i:])); err == nil {
			t.Fatalf("byte %d doubled: nobody saw it", i)
		}
	}
}

func TestLinesInAnyOtherOrderAreFound(t *testing.T) {
	all := lines(small(t, "a").text)
	// The last lines may go: that is for the known head.
	for i := range len(all) - 1 {
		without := slices.Concat(all[:i:i], all[i+1:])
		doubled := slices.Concat(all[:i+1:i+1], all[i:])
		swapped := slices.Clone(all)
		swapped[i], swapped[i+1] = swapped[i+1], swapped[i]
		for what, changed := range map[string][][]byte{"removed": without, "doubled": doubled, "swapped": swapped} {
			// A chain may begin at any checkpoint, for older files are removed.
			if i == 0 && what == "removed" {
				continue
			}
			if _, err := check(&Verifier{}, bytes.Join(changed, nil)); err == nil {
				t.Errorf("line %d %s: nobody saw it", i, what)
			}
		}
	}
}

func TestARecordOfAnotherNodeIsFound(t *testing.T) {
	all, other := lines(small(t, "a").text), lines(small(t, "b").text)
	for i := range all {
		changed := slices.Clone(all)
		changed[i] = other[i]
		if _, err := check(trusting(testPublic()), bytes.Join(changed, nil)); err == nil && i < len(all)-1 {
			t.Errorf("line %d: nobody saw it", i)
		}
		if i == len(all)-1 {
			continue
		}
		// All from here on are the other's.
		if _, err := check(trusting(testPublic()), bytes.Join(slices.Concat(all[:i+1:i+1], other[i+1:]), nil)); err == nil {
			t.Errorf("from line %d on: nobody saw it", i)
		}
	}
}

func TestWhoHasNoKeyCannotWriteTheChainAnew(t *testing.T) {
	thief := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	forged := &testLog{t: t, id: "a", key: thief}
	forged.checkpoint(Started)
	forged.records(7)
	forged.checkpoint(Due)
	if _, err := check(trusting(testPublic()), forged.text); err == nil || !strings.Contains(err.Error(), "isn't one of those that may") {
		t.Errorf("a whole chain: %v", err)
	}
	report, err := check(&Verifier{}, forged.text)
	if err != nil || len(report.Keys) != 1 || Fingerprint(report.Keys[0]) == Fingerprint(testPublic()) {
		t.Errorf("without a key that is known, the report has the one that signed: %v %v", report.Keys, err)
	}

	// A record is changed, and all hashes after it are computed anew.
	var text []byte
	var head Head
	for i, one := range lines(small(t, "a").text) {
		l, err := parseLine(one)
		if err != nil {
			t.Fatal(err)
		}
		from := len(text)
		text = head.begin(text)
		if l.record != nil {
			record := l.record
			if i == 1 {
				record = bytes.Replace(record, []byte("issued"), []byte("denied"), 1)
			}
			text = append(append(text, beforeRecord...), record...)
		} else {
			text = append(append(append(text, beforeCheckpoint...), l.checkpoint...), beforeSig...)
			text = append(append(text, l.sig...), afterSig...)
		}
		text, head = head.end(text, from)
	}
	_, err = check(&Verifier{}, text)
	if err == nil || !strings.Contains(err.Error(), "its signature isn't that of its key") {
		t.Errorf("resealed: %v", err)
	}
}

func TestWhatStandsAfterTheLastCheckpointIsToldAsUnsigned(t *testing.T) {
	l := small(t, "a")
	all, known := lines(l.text), l.head
	for cut, unsigned := range map[int]uint64{0: 2, 1: 1, 2: 0} {
		text := bytes.Join(all[:len(all)-cut], nil)
		report, err := check(trusting(testPublic()), text)
		if err != nil || report.Unsigned != unsigned {
			t.Errorf("%d lines cut: %d unsigned, want %d: %v", cut, report.Unsigned, unsigned, err)
		}
		if _, err := check(&Verifier{Want: known}, text); (err != nil) != (cut > 0) {
			t.Errorf("%d lines cut, and the head is known: %v", cut, err)
		}
	}
	other := known
	other.Hash[0] ^= 1
	if _, err := check(&Verifier{Want: other}, l.text); err == nil || !strings.Contains(err.Error(), "written anew") {
		t.Errorf("another head: %v", err)
	}
	if _, err := check(&Verifier{}, l.text[:len(l.text)-1]); !errors.Is(err, ErrCut) {
		t.Errorf("a line that isn't finished: %v", err)
	}
}

func TestFilesFollowEachOther(t *testing.T) {
	l := small(t, "a")
	l.checkpoint(Rotated)
	first := len(l.text)
	l.checkpoint(Rotated)
	l.records(2)
	l.checkpoint(Rotated)
	second := len(l.text)
	l.checkpoint(Rotated)
	l.records(1)
	files := [][]byte{l.text[:first], l.text[first:second], l.text[second:]}
	if report, err := check(trusting(testPublic()), files...); err != nil || report.Last != l.head.Seq || report.First != 1 {
		t.Errorf("%+v %v", report, err)
	}
	if report, err := check(trusting(testPublic()), files[1:]...); err != nil || report.First != 12 {
		t.Errorf("without the oldest: %+v %v", report, err)
	}
	for what, wrong := range map[string][][]byte{
		"one missing": {files[0], files[2]}, "another order": {files[1], files[0], files[2]}, "one twice": {files[0], files[0], files[1]},
		"one that begins with a record": {files[0], bytes.Join(lines(files[1])[1:], nil)},
		"an oldest that begins so":      {bytes.Join(lines(files[1])[1:], nil), files[2]},
	} {
		if _, err := check(trusting(testPublic()), wrong...); err == nil {
			t.Errorf("%s: nobody saw it", what)
		}
	}
}

func TestTheDamageSaysWhereItIs(t *testing.T) {
	all := lines(small(t, "a").text)
	all[4] = bytes.Replace(all[4], []byte("issued"), []byte("Issued"), 1)
	_, err := check(&Verifier{}, bytes.Join(all, nil))
	var d *Damage
	if !errors.As(err, &d) || d.File != "file-0" || d.Line != 5 || d.After != 4 || d.Offset != int64(len(bytes.Join(all[:4], nil))) {
		t.Errorf("%+v", err)
	}
}

func TestHeadsAreReadAsTheyAreWritten(t *testing.T) {
	head := small(t, "a").head
	if back, err := ParseHead(head.String()); err != nil || back != head {
		t.Errorf("%v %v", back, err)
	}
	for _, text := range []string{"", "1", "0:" + strings.Repeat("0", 64), "1:ab", "x:" + strings.Repeat("0", 64), "1:" + strings.Repeat("g", 64)} {
		if _, err := ParseHead(text); err == nil {
			t.Errorf("%q is taken for a head", text)
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, l := range lines(small(f, "a").text) {
		f.Add(l)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseLine(text)
		if err != nil || l.record == nil {
			return
		}
		var prev Head
		prev.Seq = l.head.Seq - 1
		if h, err := ParseHead("1:" + string(l.prev)); err == nil {
			prev.Hash = h.Hash
			again, head := prev.record(nil, l.record)
			if !bytes.Equal(again, text) || head != l.head {
				t.Errorf("%q is read, and written as %q", text, again)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	record := fmt.Appendf(nil, `{"v":1,"input":"%s"}`, strings.Repeat("x", 3000))
	l := &testLog{t: b, key: testKey, id: "a"}
	l.checkpoint(Started)
	const n = 20000
	for i := range n {
		l.text, l.head = l.head.record(l.text, record)
		if i%1000 == 999 {
			l.checkpoint(Due)
		}
	}
	b.SetBytes(int64(len(l.text)))
	for b.Loop() {
		if _, err := check(&Verifier{}, l.text); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "records/s")
}
