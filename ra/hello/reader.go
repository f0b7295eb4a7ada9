// SPDX-License-Identifier: Apache-2.0

package hello

// TLS records and the one message that is looked for.
const (
	handshakeRecord = 22
	clientHello     = 1
	recordHeader    = 5
	messageHeader   = 4
	maxRecord       = 16 << 10 // RFC 8446 section 5.1
)

// MaxRecords bounds the records that a ClientHello may come in: a header for each
// byte would make it six times as long.
const MaxRecords = 1024

// A Reader is shown the bytes of a connection as they come, and reads the
// ClientHello at their beginning: in whatever pieces, in as many records as
// there are. It keeps MaxSize bytes at most, and none once it has seen enough.
// The zero value is ready. It is not safe for concurrent use.
type Reader struct {
	header [recordHeader]byte
	filled int // of header
	left   int // of the record
	count  int // of records
	msg    []byte
	done   bool
	hello  *Hello
}

// Done says that further bytes make no difference.
func (r *Reader) Done() bool { return r.done }

// Hello is what the ClientHello said; nil while it isn't complete, where it
// couldn't be read, and where it neither names a CA nor offers SRP.
func (r *Reader) Hello() *Hello { return r.hello }

// Feed shows further bytes.
func (r *Reader) Feed(p []byte) {
	for len(p) > 0 && !r.done {
		if r.left == 0 {
			p = p[r.readHeader(p):]
		} else {
			p = p[r.readBody(p):]
		}
	}
}

func (r *Reader) readHeader(p []byte) int {
	n := copy(r.header[r.filled:], p)
	r.filled += n
	if r.header[0] != handshakeRecord {
		r.end()
		return n
	}
	if r.filled < recordHeader {
		return n
	}
	r.filled = 0
	r.count++
	r.left = int(r.header[3])<<8 | int(r.header[4])
	if r.header[1] != 3 || r.left == 0 || r.left > maxRecord || r.count > MaxRecords {
		r.end()
	}
	return n
}

func (r *Reader) readBody(p []byte) int {
	n := min(r.left, len(p), r.wanted()-len(r.msg))
	r.msg = append(r.msg, p[:n]...)
	r.left -= n
	switch {
	case r.msg[0] != clientHello, r.wanted() > MaxSize:
		r.end()
	case len(r.msg) >= messageHeader && len(r.msg) == r.wanted():
		hello, err := Parse(r.msg)
		r.end()
		if err == nil && (!hello.Empty() || hello.OffersSRP()) {
			r.hello = hello
		}
	}
	return n
}

// wanted is the length of the message, as far as it is known.
func (r *Reader) wanted() int {
	if len(r.msg) < messageHeader {
		return messageHeader
	}
	return messageHeader + (int(r.msg[1])<<16 | int(r.msg[2])<<8 | int(r.msg[3]))
}

func (r *Reader) end() { r.done, r.msg = true, nil }
