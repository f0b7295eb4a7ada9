// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"encoding/asn1"
	"slices"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// StatusInfo is what became of parts of a request: CMCStatusInfoV2 (RFC 5272
// section 6.1.1), or the older CMCStatusInfo (section 6.1.2), whose references
// have no paths.
type StatusInfo struct {
	Status Status
	Bodies []Reference // what it is about; at least one
	Text   string      // for people; may be empty
	// One of these at most. Fail and Extended belong to Failed, Pend to Pending
	// and Partial.
	Fail     *FailInfo
	Pend     *PendInfo
	Extended *ExtendedFail
}

// PendInfo says how to ask for the result later.
type PendInfo struct {
	Token []byte
	Time  time.Time // in whole seconds
}

// ExtendedFail is a reason of others' making.
type ExtendedFail struct {
	Type  asn1.ObjectIdentifier
	Value []byte // DER
}

// A Reference is a BodyPartReference: an element of the message that is
// answered, or of one within it.
type Reference struct {
	ID   BodyPartID
	Path []BodyPartID // from the outside in; nil where ID says it all
}

// To makes references to elements of the message itself.
func To(ids ...BodyPartID) []Reference {
	references := make([]Reference, len(ids))
	for i, id := range ids {
		references[i] = Reference{ID: id}
	}
	return references
}

// FailedWith is the state of what failed.
func FailedWith(fail FailInfo, text string, ids ...BodyPartID) StatusInfo {
	return StatusInfo{Status: Failed, Bodies: To(ids...), Text: text, Fail: &fail}
}

// tagExtended is that of RFC 6402's 2008 module. In RFC 5272 extendedFailInfo
// has no tag, and is a SEQUENCE as pendInfo is: what stands in it tells them
// apart.
var tagExtended = der.Tag(1).ContextSpecific().Constructed()

// ParseStatusInfo decodes the value of a statusInfoV2 or statusInfo control.
func ParseStatusInfo(value []byte) (StatusInfo, error) {
	s, err := parseStatusInfo(value)
	if err != nil {
		return StatusInfo{}, within("statusInfo", err)
	}
	return s, nil
}

func parseStatusInfo(value []byte) (s StatusInfo, err error) {
	body, err := readWhole(value, "CMCStatusInfo")
	if err != nil {
		return s, err
	}
	if !body.ReadASN1Integer((*uint8)(&s.Status)) {
		return s, bad("no cMCStatus")
	}
	if s.Bodies, err = readList(&body, "bodyList", "reference", readReference); err != nil {
		return s, err
	}
	if len(s.Bodies) == 0 {
		return s, bad("an empty bodyList")
	}
	if body.PeekASN1Tag(der.UTF8String) {
		if s.Text, err = readUTF8(&body); err != nil {
			return s, within("statusString", err)
		}
	}
	if body.Empty() {
		return s, nil
	}
	if err := s.readOther(&body); err != nil {
		return s, within("otherInfo", err)
	}
	if !body.Empty() {
		return s, bad("%d bytes after otherInfo", len(body))
	}
	return s, nil
}

func (s *StatusInfo) readOther(body *cryptobyte.String) error {
	if body.PeekASN1Tag(der.INTEGER) {
		s.Fail = new(FailInfo)
		if !body.ReadASN1Integer((*uint16)(s.Fail)) {
			return bad("not a CMCFailInfo")
		}
		return nil
	}
	var content cryptobyte.String
	var tag der.Tag
	if !body.ReadAnyASN1(&content, &tag) || tag != der.SEQUENCE && tag != tagExtended {
		return bad("neither failInfo, pendInfo nor extendedFailInfo")
	}
	if tag == tagExtended || content.PeekASN1Tag(der.OBJECT_IDENTIFIER) {
		s.Extended = &ExtendedFail{}
		var value cryptobyte.String
		if !content.ReadASN1ObjectIdentifier(&s.Extended.Type) || !content.ReadAnyASN1Element(&value, nil) || !content.Empty() {
			return bad("not an ExtendedFailInfo")
		}
		s.Extended.Value = value
		return nil
	}
	s.Pend = &PendInfo{}
	if !content.ReadASN1Bytes(&s.Pend.Token, der.OCTET_STRING) || !content.ReadASN1GeneralizedTime(&s.Pend.Time) || !content.Empty() {
		return bad("not a PendInfo")
	}
	return nil
}

func readReference(s *cryptobyte.String) (r Reference, err error) {
	if s.PeekASN1Tag(der.INTEGER) {
		r.ID, err = readID(s)
		return r, err
	}
	r.Path, err = readPath(s)
	return r, err
}

// readPath reads a BodyPartPath or a BodyPartList, which have at least one id.
func readPath(s *cryptobyte.String) ([]BodyPartID, error) {
	ids, err := readList(s, "ids", "id", readID)
	if err != nil {
		return nil, err
	}
	if len(ids) == 0 {
		return nil, bad("no body part id")
	}
	return ids, nil
}

func readUTF8(s *cryptobyte.String) (string, error) {
	var text cryptobyte.String
	if !s.ReadASN1(&text, der.UTF8String) || !utf8.Valid(text) {
		return "", bad("not a UTF8String")
	}
	return string(text), nil
}

// Marshal encodes the value of a statusInfoV2 control.
func (s StatusInfo) Marshal() ([]byte, error) {
	return s.marshal(tagExtended, func(b *cryptobyte.Builder, r Reference) { addReference(b, r) })
}

// FitsV1 says that a statusInfo control can say the same: it has neither paths nor
// an extendedFailInfo.
func (s StatusInfo) FitsV1() bool {
	return s.Extended == nil && !slices.ContainsFunc(s.Bodies, func(r Reference) bool { return r.Path != nil })
}

// MarshalV1 encodes the value of a statusInfo control, which clients of RFC 2797
// read. A path is given by its first id, and there is no extendedFailInfo.
func (s StatusInfo) MarshalV1() ([]byte, error) {
	s.Extended = nil
	return s.marshal(0, func(b *cryptobyte.Builder, r Reference) {
		if len(r.Path) > 0 {
			r.ID = r.Path[0]
		}
		addID(b, r.ID)
	})
}

func (s StatusInfo) marshal(extended der.Tag, add func(*cryptobyte.Builder, Reference)) ([]byte, error) {
	if len(s.Bodies) == 0 {
		return nil, within("statusInfo", bad("an empty bodyList"))
	}
	return build(func(b *cryptobyte.Builder) {
		b.AddASN1Uint64(uint64(s.Status))
		addList(b, s.Bodies, add)
		if s.Text != "" {
			addUTF8(b, s.Text)
		}
		switch {
		case s.Fail != nil:
			b.AddASN1Uint64(uint64(*s.Fail))
		case s.Pend != nil:
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1OctetString(s.Pend.Token)
				b.AddASN1GeneralizedTime(s.Pend.Time.UTC().Truncate(time.Second))
			})
		case s.Extended != nil:
			b.AddASN1(extended, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(s.Extended.Type)
				b.AddBytes(s.Extended.Value)
			})
		}
	})
}

func addReference(b *cryptobyte.Builder, r Reference) {
	if r.Path == nil {
		addID(b, r.ID)
		return
	}
	addList(b, r.Path, addID)
}

func addUTF8(b *cryptobyte.Builder, text string) {
	b.AddASN1(der.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(text)) })
}
