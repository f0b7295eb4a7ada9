// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"errors"
	"fmt"
)

// Bounds of what is read from a peer. A certificate has about a hundred
// elements, and a SignedData with one is ten levels deep.
const (
	// MaxSize is how many bytes a message may have.
	MaxSize     = 64 << 10
	maxDepth    = 32
	maxElements = 8192
)

// DER is the gate for bytes of a peer: everything that this package reads goes
// through it. It takes exactly one element in DER or in the BER that other
// libraries write (RFC 5652 section 3), and gives it in DER: indefinite and
// long-winded lengths become short, and OCTET STRINGs in pieces become one.
// What stands in primitive elements is not looked into, and a SET stays in its
// order.
//
// An error are more than [MaxSize] bytes, 8192 elements or 32 levels, bytes
// after the element, tags above 30, and other strings in pieces. Time and
// memory are linear in the size.
func DER(message []byte) ([]byte, error) { return ofPeer.der(message) }

// Elements gives what stands within one constructed element, each as it was
// sent: what a MAC of its sender covers is not what [DER] makes of it. Bounds and
// errors are those of DER.
func Elements(message []byte) ([][]byte, error) {
	if _, err := DER(message); err != nil {
		return nil, err
	}
	s := scanner{in: message, most: maxElements}
	h, err := s.header(0, len(message))
	if err != nil || h.tag&constructed == 0 {
		return nil, errors.New("it holds no elements")
	}
	end := len(message)
	if h.indefinite {
		end -= 2 // its end
	}
	var parts [][]byte
	for pos := h.content; pos < end; {
		next, err := s.element(pos, end, 1)
		if err != nil {
			return nil, err
		}
		parts, pos = append(parts, message[pos:next]), next
	}
	return parts, nil
}

// bounds are of a whole message.
type bounds struct{ size, elements, certificates int }

var (
	ofPeer = bounds{size: MaxSize, elements: maxElements, certificates: maxCertificates}
	// A certs-only message comes from a CA, over a channel that is trusted.
	ofCA = bounds{size: 1 << 20, elements: 1 << 17, certificates: 1024}
)

func (most bounds) der(message []byte) ([]byte, error) {
	if len(message) > most.size {
		return nil, fmt.Errorf("the message has %d bytes, more than %d", len(message), most.size)
	}
	s := scanner{in: message, most: most.elements}
	end, err := s.element(0, len(message), 0)
	if err != nil {
		return nil, err
	}
	if end != len(message) {
		return nil, fmt.Errorf("%d bytes follow the message", len(message)-end)
	}
	out, _ := s.write(make([]byte, 0, headerSize(s.elements[0].size)+s.elements[0].size), 0)
	return out, nil
}

const (
	tagOctetString = 0x04
	tagSequence    = 0x30
	tagSet         = 0x31
	constructed    = 0x20
	tagNumber      = 0x1f
	classBits      = 0xc0
)

// An element in the order of the message: what it holds follows it.
type element struct {
	tag   byte
	start int // of a primitive's content
	size  int // of the content in DER
	last  int // index of the last element within it, or its own
	join  bool
}

type scanner struct {
	in       []byte
	most     int
	elements []element
}

// element reads the element at pos, which ends before end. It gives the
// position after it.
func (s *scanner) element(pos, end, depth int) (int, error) {
	if depth > maxDepth {
		return 0, fmt.Errorf("byte %d: nested more than %d levels deep", pos, maxDepth)
	}
	if len(s.elements) == s.most {
		return 0, fmt.Errorf("byte %d: more than %d elements", pos, s.most)
	}
	h, err := s.header(pos, end)
	if err != nil {
		return 0, fmt.Errorf("byte %d: %w", pos, err)
	}
	index := len(s.elements)
	s.elements = append(s.elements, element{tag: h.tag, start: h.content, size: h.length, last: index})
	if h.tag&constructed == 0 {
		return h.content + h.length, nil
	}
	if h.tag&classBits == 0 {
		switch h.tag &^ constructed {
		case tagOctetString:
			s.elements[index].join = true
		case tagSequence &^ constructed, tagSet &^ constructed:
		default:
			return 0, fmt.Errorf("byte %d: tag %#02x in pieces is not read", pos, h.tag)
		}
	}
	if !h.indefinite {
		end = h.content + h.length
	}
	return s.contents(index, h, end, depth)
}

// contents reads what a constructed element holds.
func (s *scanner) contents(index int, h header, end, depth int) (int, error) {
	pos, size, join := h.content, 0, s.elements[index].join
	for {
		if h.indefinite && pos+2 <= end && s.in[pos] == 0 && s.in[pos+1] == 0 {
			pos += 2
			break
		}
		if pos == end {
			if h.indefinite {
				return 0, errors.New("an indefinite length does not end")
			}
			break
		}
		child := len(s.elements)
		next, err := s.element(pos, end, depth+1)
		if err != nil {
			return 0, err
		}
		e := s.elements[child]
		if join && e.tag&^constructed != tagOctetString {
			return 0, fmt.Errorf("byte %d: tag %#02x among the pieces of an OCTET STRING", pos, e.tag)
		}
		if !join {
			size += headerSize(e.size)
		}
		size += e.size
		pos = next
	}
	s.elements[index].size = size
	s.elements[index].last = len(s.elements) - 1
	return pos, nil
}

type header struct {
	tag        byte
	content    int // position of the content
	length     int
	indefinite bool
}

// header reads tag and length (X.690 sections 8.1.2 and 8.1.3).
func (s *scanner) header(pos, end int) (header, error) {
	if end-pos < 2 {
		return header{}, errors.New("an element is cut short")
	}
	h := header{tag: s.in[pos], content: pos + 2}
	switch {
	case h.tag&tagNumber == tagNumber:
		return header{}, errors.New("a tag above 30")
	case h.tag&(classBits|tagNumber) == 0:
		return header{}, errors.New("the reserved tag 0")
	}
	first := s.in[pos+1]
	switch {
	case first < 0x80:
		h.length = int(first)
	case first == 0x80:
		if h.tag&constructed == 0 {
			return header{}, errors.New("a primitive element of indefinite length")
		}
		h.indefinite = true
		return h, nil
	default:
		octets := int(first & 0x7f)
		if octets > end-h.content {
			return header{}, errors.New("a length is cut short")
		}
		for _, b := range s.in[h.content : h.content+octets] {
			if h.length = h.length<<8 | int(b); h.length > len(s.in) {
				return header{}, errors.New("a length goes beyond the message")
			}
		}
		h.content += octets
	}
	if h.length > end-h.content {
		return header{}, errors.New("a length goes beyond what it is in")
	}
	return h, nil
}

// write appends the element at index in DER. It gives the index of the element
// that follows.
func (s *scanner) write(out []byte, index int) ([]byte, int) {
	e := s.elements[index]
	if e.join {
		out = appendHeader(out, e.tag&^constructed, e.size)
		for _, piece := range s.elements[index+1 : e.last+1] {
			if !piece.join {
				out = append(out, s.in[piece.start:piece.start+piece.size]...)
			}
		}
		return out, e.last + 1
	}
	out = appendHeader(out, e.tag, e.size)
	if e.tag&constructed == 0 {
		return append(out, s.in[e.start:e.start+e.size]...), index + 1
	}
	next := index + 1
	for next <= e.last {
		out, next = s.write(out, next)
	}
	return out, next
}

func headerSize(length int) int {
	switch {
	case length < 0x80:
		return 2
	case length < 0x100:
		return 3
	case length < 0x10000:
		return 4
	}
	return 5
}

func appendHeader(out []byte, tag byte, length int) []byte {
	size := headerSize(length)
	if size == 2 {
		return append(out, tag, byte(length&0x7f))
	}
	out = append(out, tag, byte(0x80|(size-2))) //nolint:gosec // size is 3, 4 or 5
	for shift := 8 * (size - 3); shift >= 0; shift -= 8 {
		out = append(out, byte(length>>shift&0xff))
	}
	return out
}
