// SPDX-License-Identifier: Apache-2.0

package chain

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// batchSize is how much is read at once, in bytes.
const batchSize = 256 << 10

// maxLine bounds a line that is read.
const maxLine = MaxRecord + 4096

// A batch is some lines of a file, which are parsed beside others: nearly all
// the time goes into their hashes.
type batch struct {
	texts [][]byte
	lines []line
	errs  []error

	parsed chan struct{} // closed
	damage error         // of what stands after the lines
	err    error         // of reading
}

func (b *batch) parse() {
	defer close(b.parsed)
	b.lines, b.errs = make([]line, len(b.texts)), make([]error, len(b.texts))
	for i, text := range b.texts {
		b.lines[i], b.errs[i] = parseLine(text)
	}
}

// readBatches gives the lines of a file in order. Whoever reads them calls stop.
func readBatches(file io.Reader) (_ <-chan *batch, stop func()) {
	out, stopped, ended := make(chan *batch, 2*runtime.GOMAXPROCS(0)), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer close(out)
		var rest []byte
		for last := false; !last; {
			b := &batch{parsed: make(chan struct{})}
			rest, last = b.fill(file, rest)
			select {
			case out <- b:
				go b.parse()
			case <-stopped:
				return
			}
		}
	}()
	return out, func() {
		close(stopped)
		<-ended
	}
}

// fill reads until there is a whole line, and gives back what it has of the
// next.
func (b *batch) fill(file io.Reader, rest []byte) (next []byte, last bool) {
	text := append(make([]byte, 0, max(batchSize, 2*len(rest))), rest...)
	for {
		n, err := io.ReadFull(file, text[len(text):cap(text)])
		searched := len(text)
		text = text[:len(text)+n]
		whole := bytes.LastIndexByte(text[searched:], '\n') + 1
		if whole > 0 {
			whole += searched
		}
		last = err != nil
		if last && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			b.err = err
		}
		switch {
		case whole == 0 && len(text) > maxLine:
			b.damage = fmt.Errorf("it is longer than %d bytes", maxLine)
			return nil, true
		case whole == 0 && !last:
			text = append(make([]byte, 0, 2*cap(text)), text...)
			continue
		}
		b.split(text[:whole])
		if last && b.err == nil && whole < len(text) {
			b.damage = ErrCut
		}
		return text[whole:], last
	}
}

func (b *batch) split(text []byte) {
	b.texts = make([][]byte, 0, bytes.Count(text, []byte{'\n'}))
	for one := range bytes.Lines(text) {
		b.texts = append(b.texts, one)
	}
}
