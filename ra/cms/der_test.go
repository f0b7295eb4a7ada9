// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBERBecomesDER(t *testing.T) {
	cases := []struct{ name, ber, der string }{
		{"DER stays", "30 06 02 01 05 04 01 ff", "30 06 02 01 05 04 01 ff"},
		{"an empty sequence of indefinite length", "30 80 00 00", "30 00"},
		{"indefinite lengths within each other", "30 80 31 80 02 01 05 00 00 00 00", "30 05 31 03 02 01 05"},
		{"a definite length within an indefinite one", "30 80 30 03 02 01 05 00 00", "30 05 30 03 02 01 05"},
		{"an indefinite length within a definite one", "30 07 a0 80 02 01 05 00 00", "30 05 a0 03 02 01 05"},
		{"lengths longer than needed", "30 84 00 00 00 05 02 82 00 01 05", "30 03 02 01 05"},
		{"zeros that are no end", "30 80 02 02 00 00 00 00", "30 04 02 02 00 00"},
		{"an OCTET STRING in two pieces", "24 80 04 02 aa bb 04 01 cc 00 00", "04 03 aa bb cc"},
		{"an OCTET STRING in no pieces", "24 00", "04 00"},
		{"pieces in pieces", "24 80 24 05 04 01 aa 04 00 24 80 04 01 bb 00 00 00 00", "04 02 aa bb"},
		{"an OCTET STRING in pieces within an explicit tag", "a0 80 24 80 04 01 aa 04 01 bb 00 00 00 00", "a0 04 04 02 aa bb"},
		{"a SET in its order", "31 06 02 01 09 02 01 01", "31 06 02 01 09 02 01 01"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := DER(unhex(t, c.ber))
			if err != nil {
				t.Fatal(err)
			}
			if want := unhex(t, c.der); !bytes.Equal(got, want) {
				t.Errorf("got %x, want %x", got, want)
			}
		})
	}
}

func TestLengthsOfEachSizeAreWritten(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 255, 256, 65535 - 40, 1 << 15} {
		content := bytes.Repeat([]byte{7}, n)
		want := tlv(0, 4, false, content)
		ber := append([]byte{0x24, 0x80}, want...)
		got, err := DER(append(ber, 0, 0))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %d of DER, %v", n, len(got), err)
		}
	}
}

func TestDERRefuses(t *testing.T) {
	cases := []struct {
		name string
		in   []byte
		says string
	}{
		{"nothing", nil, "cut short"},
		{"one byte", []byte{0x30}, "cut short"},
		{"bytes after the element", unhex(t, "30 00 00"), "1 bytes follow"},
		{"bytes after an end", unhex(t, "30 80 00 00 00 00"), "2 bytes follow"},
		{"an end that nothing began", unhex(t, "30 02 00 00"), "reserved tag"},
		{"an indefinite length without end", unhex(t, "30 80 02 01 05"), "does not end"},
		{"an end outside of what it is in", unhex(t, "30 03 31 80 00 00 00"), "cut short"},
		{"a length beyond the message", unhex(t, "30 05 02 01 05"), "goes beyond"},
		{"a length beyond what it is in", unhex(t, "30 03 02 02 05 00"), "goes beyond"},
		{"a length of 2^63", unhex(t, "30 88 80 00 00 00 00 00 00 00"), "goes beyond"},
		{"a length of 2^64+3", unhex(t, "30 89 01 00 00 00 00 00 00 00 03 02 01 05"), "goes beyond"},
		{"a length that is cut short", unhex(t, "30 82 01"), "cut short"},
		{"a primitive of indefinite length", unhex(t, "04 80 00 00"), "indefinite"},
		{"a high tag", unhex(t, "3f 22 00"), "above 30"},
		{"a BIT STRING in pieces", unhex(t, "23 80 03 02 00 01 00 00"), "pieces"},
		{"an INTEGER among pieces", unhex(t, "24 03 02 01 05"), "pieces"},
		{"a message that is too big", make([]byte, MaxSize+1), "65537 bytes"},
		{"nesting in definite lengths", nested(40), "32 levels"},
		{"nesting in indefinite lengths", bytes.Repeat([]byte{0x30, 0x80}, MaxSize/2), "32 levels"},
		{"nested pieces", bytes.Repeat([]byte{0x24, 0x80}, MaxSize/2), "32 levels"},
		{"64 KiB of empty sequences", tlv(0, 16, true, bytes.Repeat([]byte{0x30, 0}, (MaxSize-4)/2)), "8192 elements"},
		{"64 KiB of empty indefinite sequences", tlv(0, 16, true, bytes.Repeat([]byte{0x30, 0x80, 0, 0}, (MaxSize-4)/4)), "8192 elements"},
		{"64 KiB of empty pieces", tlv(0, 4, true, bytes.Repeat([]byte{4, 0}, (MaxSize-4)/2)), "8192 elements"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out, err := DER(c.in)
			if err == nil {
				t.Fatalf("taken as %d bytes", len(out))
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
		})
	}
}

func nested(levels int) []byte {
	var der []byte
	for range levels {
		der = seq(der)
	}
	return der
}

// Time is what a benchmark shows; a test can count elements and memory.
func TestReadingCostsWhatTheMessageIsLong(t *testing.T) {
	piece := append(append([]byte{0x24, 0x80}, bytes.Repeat([]byte{4, 1, 7}, 30)...), 0, 0)
	for _, n := range []int{1, 10, 100, 200} {
		message := tlv(0, 16, true, bytes.Repeat(piece, n))
		s := scanner{in: message, most: maxElements}
		if _, err := s.element(0, len(message), 0); err != nil {
			t.Fatal(err)
		}
		if want := 1 + 31*n; len(s.elements) != want {
			t.Errorf("%d pieces: %d elements, want %d", n, len(s.elements), want)
		}
		// The elements grow by doubling, and the answer is made once.
		allocs := testing.AllocsPerRun(5, func() { _, _ = DER(message) })
		if allocs > 25 {
			t.Errorf("%d pieces: %v allocations", n, allocs)
		}
	}
}

func BenchmarkDER(b *testing.B) {
	for _, size := range []int{1 << 10, 4 << 10, 16 << 10, 60 << 10} {
		for name, piece := range map[string][]byte{
			"small": {0x24, 0x80, 4, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 0, 0},
			"deep":  append(append(bytes.Repeat([]byte{0x30, 0x80}, 30), 4, 0x81, 200), make([]byte, 200+60)...),
			"plain": {4, 24, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24},
		} {
			message := tlv(0, 16, true, bytes.Repeat(piece, size/len(piece)))
			b.Run(fmt.Sprintf("%s/%d", name, size), func(b *testing.B) {
				b.SetBytes(int64(len(message)))
				for b.Loop() {
					if _, err := DER(message); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func FuzzDER(f *testing.F) {
	for _, s := range []string{"30 80 00 00", "24 80 04 02 aa bb 04 01 cc 00 00", "30 84 00 00 00 05 02 82 00 01 05", "3f 22 00", "30 07 a0 80 02 01 05 00 00"} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := DER(in)
		if err != nil {
			return
		}
		if len(out) > len(in) {
			t.Errorf("%d bytes became %d", len(in), len(out))
		}
		if err := csr.CheckDER(out); err != nil {
			t.Errorf("%x is no DER: %v", out, err)
		}
		if again, err := DER(out); err != nil || !bytes.Equal(again, out) {
			t.Errorf("%x comes back as %x, %v", out, again, err)
		}
		parts, err := Elements(in)
		if err != nil || in[0] == tagOctetString|constructed {
			return
		}
		var inside []byte
		for _, part := range parts {
			one, err := DER(part)
			if err != nil {
				t.Errorf("%x in %x: %v", part, in, err)
			}
			inside = append(inside, one...)
		}
		if !bytes.HasSuffix(out, inside) || len(out) != headerSize(len(inside))+len(inside) {
			t.Errorf("%x holds %x", in, parts)
		}
	})
}

func TestElementsAreGivenAsTheyWereSent(t *testing.T) {
	long := []byte{0x30, 0x83, 0, 0, 2, 5, 0}
	endless := []byte{0x24, 0x80, 4, 1, 'a', 0, 0}
	for name, message := range map[string][]byte{
		"of short length":      seq(long, endless),
		"of indefinite length": append(append(append([]byte{0x30, 0x80}, long...), endless...), 0, 0),
	} {
		got, err := Elements(message)
		if err != nil || len(got) != 2 || !bytes.Equal(got[0], long) || !bytes.Equal(got[1], endless) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
	for name, message := range map[string][]byte{
		"a primitive": {5, 0}, "nothing": nil, "bytes after it": {0x30, 0, 0}, "one without an end": {0x30, 0x80},
	} {
		if got, err := Elements(message); err == nil {
			t.Errorf("%s: %x", name, got)
		}
	}
}
