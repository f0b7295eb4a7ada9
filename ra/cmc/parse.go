// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"bytes"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// ParsePKIData decodes the content of a Full PKI Request in DER (RFC 5272
// section 3.2.1). Body part ids that occur twice, or are 0, are errors, and so
// is more than 256 of anything. Errors are of type *Error. The message shares
// no memory with raw.
func ParsePKIData(raw []byte) (*PKIData, error) {
	d := &PKIData{}
	body, err := readWhole(bytes.Clone(raw), "PKIData")
	if err != nil {
		return nil, err
	}
	if d.Controls, err = readList(&body, "controlSequence", "control", readControl); err != nil {
		return nil, err
	}
	rest := body
	var requests cryptobyte.String
	if !rest.ReadASN1Element(&requests, der.SEQUENCE) {
		return nil, within("reqSequence", bad("not a SEQUENCE in DER"))
	}
	d.RawRequests = requests
	if d.Requests, err = readList(&body, "reqSequence", "request", readRequest); err != nil {
		return nil, err
	}
	if d.Contents, d.Others, err = readRest(&body); err != nil {
		return nil, err
	}
	return d, unique(d.IDs())
}

// ParsePKIResponse decodes the content of a Full PKI Response in DER (RFC 5272
// section 4.2.1), within the bounds of [ParsePKIData].
func ParsePKIResponse(raw []byte) (*PKIResponse, error) {
	r := &PKIResponse{}
	body, err := readWhole(bytes.Clone(raw), "PKIResponse")
	if err != nil {
		return nil, err
	}
	if r.Controls, err = readList(&body, "controlSequence", "control", readControl); err != nil {
		return nil, err
	}
	if r.Contents, r.Others, err = readRest(&body); err != nil {
		return nil, err
	}
	var ids []BodyPartID
	for _, c := range r.Controls {
		ids = append(ids, c.ID)
	}
	return r, unique(append(ids, restOf(r.Contents, r.Others)...))
}

// readRest reads the two sequences that both messages end with.
func readRest(body *cryptobyte.String) ([]Content, []OtherMsg, error) {
	contents, err := readList(body, "cmsSequence", "content", readContent)
	if err != nil {
		return nil, nil, err
	}
	others, err := readList(body, "otherMsgSequence", "message", readOther)
	if err != nil {
		return nil, nil, err
	}
	if !body.Empty() {
		return nil, nil, bad("%d bytes after the otherMsgSequence", len(*body))
	}
	return contents, others, nil
}

// readWhole reads the SEQUENCE that is all of raw.
func readWhole(raw []byte, what string) (cryptobyte.String, error) {
	input := cryptobyte.String(raw)
	var body cryptobyte.String
	if !input.ReadASN1(&body, der.SEQUENCE) {
		return nil, bad("not a %s in DER", what)
	}
	if !input.Empty() {
		return nil, bad("%d bytes after the %s", len(input), what)
	}
	return body, nil
}

// readList reads a SEQUENCE OF, whose elements are called what.
func readList[T any](s *cryptobyte.String, list, what string, read func(*cryptobyte.String) (T, error)) ([]T, error) {
	var body cryptobyte.String
	if !s.ReadASN1(&body, der.SEQUENCE) {
		return nil, within(list, bad("not a SEQUENCE in DER"))
	}
	elements, err := readElements(body, what, read)
	if err != nil {
		return nil, within(list, err)
	}
	return elements, nil
}

func readElements[T any](body cryptobyte.String, what string, read func(*cryptobyte.String) (T, error)) ([]T, error) {
	var elements []T
	for !body.Empty() {
		if len(elements) == maxParts {
			return nil, bad("more than %d", maxParts)
		}
		e, err := read(&body)
		if err != nil {
			return nil, within(fmt.Sprintf("%s %d", what, len(elements)+1), err)
		}
		elements = append(elements, e)
	}
	return elements, nil
}

// unique holds that no id is used twice, nor 0, which means the whole (RFC 5272
// section 3.2.2).
func unique(ids []BodyPartID) error {
	if len(ids) > maxParts {
		return bad("more than %d body parts", maxParts)
	}
	seen := make(map[BodyPartID]bool, len(ids))
	for _, id := range ids {
		if id == 0 {
			return bad("body part id 0, which stands for the whole, is an element's")
		}
		if seen[id] {
			return of(id, bad("body part id %d occurs twice", id))
		}
		seen[id] = true
	}
	return nil
}

// readID reads a BodyPartID: INTEGER (0..4294967295).
func readID(s *cryptobyte.String) (BodyPartID, error) {
	var id uint32
	if !s.ReadASN1Integer(&id) {
		return 0, bad("no body part id, which is an INTEGER of 0 to 4294967295")
	}
	return BodyPartID(id), nil
}

func readControl(s *cryptobyte.String) (Control, error) {
	var c Control
	var body, values cryptobyte.String
	if !s.ReadASN1(&body, der.SEQUENCE) {
		return c, bad("not a TaggedAttribute")
	}
	var err error
	if c.ID, err = readID(&body); err != nil {
		return c, err
	}
	if !body.ReadASN1ObjectIdentifier(&c.Type) || !body.ReadASN1(&values, der.SET) || !body.Empty() {
		return c, of(c.ID, bad("not a TaggedAttribute"))
	}
	if c.Values, err = readElements(values, "value", readAny); err != nil {
		return c, of(c.ID, within(Name(c.Type), err))
	}
	return c, nil
}

// readAny reads one element of any type as it is.
func readAny(s *cryptobyte.String) ([]byte, error) {
	var element cryptobyte.String
	if !s.ReadAnyASN1Element(&element, nil) {
		return nil, bad("not DER")
	}
	return element, nil
}

func readContent(s *cryptobyte.String) (Content, error) {
	var c Content
	var body, info cryptobyte.String
	if !s.ReadASN1(&body, der.SEQUENCE) {
		return c, bad("not a TaggedContentInfo")
	}
	var err error
	if c.ID, err = readID(&body); err != nil {
		return c, err
	}
	if !body.ReadASN1Element(&info, der.SEQUENCE) || !body.Empty() {
		return c, of(c.ID, bad("not one ContentInfo"))
	}
	c.Raw = info
	return c, nil
}

func readOther(s *cryptobyte.String) (OtherMsg, error) {
	var body cryptobyte.String
	if !s.ReadASN1(&body, der.SEQUENCE) {
		return OtherMsg{}, bad("not an OtherMsg")
	}
	return readTyped(body)
}

// readTyped reads the fields of an OtherMsg, which an orm has as well.
func readTyped(body cryptobyte.String) (o OtherMsg, err error) {
	if o.ID, err = readID(&body); err != nil {
		return o, err
	}
	if !body.ReadASN1ObjectIdentifier(&o.Type) {
		return o, of(o.ID, bad("no OID of its type"))
	}
	if o.Value, err = readAny(&body); err != nil || !body.Empty() {
		return o, of(o.ID, bad("not one value in DER"))
	}
	return o, nil
}

// The tags of a TaggedRequest's choices (RFC 5272 section 3.2.1.2). The module
// has implicit tags.
var (
	tagPKCS10 = der.Tag(0).ContextSpecific().Constructed()
	tagCRMF   = der.Tag(1).ContextSpecific().Constructed()
	tagOther  = der.Tag(2).ContextSpecific().Constructed()
)

func readRequest(s *cryptobyte.String) (Request, error) {
	var r Request
	var element, body cryptobyte.String
	var tag der.Tag
	if !s.ReadAnyASN1Element(&element, &tag) {
		return r, bad("not DER")
	}
	r.Raw = element
	if !element.ReadAnyASN1(&body, &tag) {
		return r, bad("not DER")
	}
	switch tag {
	case tagPKCS10:
		return r, r.readPKCS10(body)
	case tagCRMF:
		msg, err := readCertReqMsg(body)
		if err != nil {
			return r, within("crm", err)
		}
		r.Format, r.ID, r.CRMF = CRMF, msg.ID, msg
		return r, nil
	case tagOther:
		o, err := readTyped(body)
		if err != nil {
			return r, within("orm", err)
		}
		r.Format, r.ID, r.Type, r.Value = Other, o.ID, o.Type, o.Value
		return r, nil
	default:
		return r, bad("tag %#x, where a TaggedRequest has [0], [1] or [2]", uint8(tag))
	}
}

func (r *Request) readPKCS10(body cryptobyte.String) error {
	var request cryptobyte.String
	var err error
	if r.ID, err = readID(&body); err != nil {
		return within("tcr", err)
	}
	if !body.ReadASN1Element(&request, der.SEQUENCE) || !body.Empty() {
		return of(r.ID, within("tcr", bad("not one CertificationRequest")))
	}
	r.Format, r.PKCS10 = PKCS10, request
	return nil
}
