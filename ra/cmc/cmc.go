// SPDX-License-Identifier: Apache-2.0

// Package cmc reads and writes Certificate Management over CMS (RFC 5272, RFC
// 6402): PKIData, PKIResponse, their controls and requests, the templates of
// CRMF (RFC 4211), and the witnesses that prove an identity or a possession.
//
// It reads DER alone, which ra/cms makes of what a peer sends, in one pass and
// without recursion, and gives every element as it came: what is passed on is
// what was read. Nothing here has been verified; a signature around it is for
// ra/cms, and what it all means is for the server.
package cmc

import (
	"encoding/asn1"
	"math/big"
	"strconv"
)

// A BodyPartID names an element of one PKIData or PKIResponse (RFC 5272 section
// 3.2.2). 0 is the whole.
type BodyPartID uint32

// String is the number.
func (id BodyPartID) String() string { return strconv.FormatUint(uint64(id), 10) }

// Big is the number.
func (id BodyPartID) Big() *big.Int { return big.NewInt(int64(id)) }

// maxParts bounds each list: the elements of one PKIData or PKIResponse, the
// values of a control, ids in a list.
const maxParts = 256

// PKIData is a Full PKI Request without the CMS around it (RFC 5272 section
// 3.2.1).
type PKIData struct {
	Controls Controls
	Requests []Request
	Contents []Content
	Others   []OtherMsg
	// RawRequests is reqSequence with tag and length as it was read: what an
	// identity proof is computed over. Marshal writes it where it is not nil.
	RawRequests []byte
}

// PKIResponse is a Full PKI Response without the CMS around it (RFC 5272
// section 4.2.1).
type PKIResponse struct {
	Controls Controls
	Contents []Content
	Others   []OtherMsg
}

// Controls are the controls of a message, in the order sent.
type Controls []Control

// A Control is a TaggedAttribute: what is to be done, or was.
type Control struct {
	ID     BodyPartID
	Type   asn1.ObjectIdentifier
	Values [][]byte // each value's DER
}

// A Content is a TaggedContentInfo: a CMS message within.
type Content struct {
	ID  BodyPartID
	Raw []byte // ContentInfo, DER
}

// An OtherMsg is data that a control refers to.
type OtherMsg struct {
	ID    BodyPartID
	Type  asn1.ObjectIdentifier
	Value []byte // DER
}

// Format is how a certification request was written.
type Format uint8

// The formats of a TaggedRequest.
const (
	PKCS10 Format = iota + 1 // tcr
	CRMF                     // crm
	Other                    // orm: nothing that we know
)

// A Request is a TaggedRequest.
type Request struct {
	ID     BodyPartID
	Format Format
	// Raw is the whole TaggedRequest with its context tag.
	Raw []byte
	// PKCS10 is the CertificationRequest of a tcr, DER; csr.Parse reads it.
	PKCS10 []byte
	// CRMF is the message of a crm; nil otherwise.
	CRMF *CertReqMsg
	// Type and Value are those of an orm.
	Type  asn1.ObjectIdentifier
	Value []byte
}

// IDs gives the ids of all elements, in the order sent.
func (d *PKIData) IDs() []BodyPartID {
	var ids []BodyPartID
	for _, c := range d.Controls {
		ids = append(ids, c.ID)
	}
	for _, r := range d.Requests {
		ids = append(ids, r.ID)
	}
	return append(ids, restOf(d.Contents, d.Others)...)
}

// Request gives the certification request with an id.
func (d *PKIData) Request(id BodyPartID) (Request, bool) {
	for _, r := range d.Requests {
		if r.ID == id {
			return r, true
		}
	}
	return Request{}, false
}

// Content gives the CMS message with an id.
func (d *PKIData) Content(id BodyPartID) (Content, bool) { return contentOf(d.Contents, id) }

// Content gives the CMS message with an id.
func (r *PKIResponse) Content(id BodyPartID) (Content, bool) { return contentOf(r.Contents, id) }

func contentOf(list []Content, id BodyPartID) (Content, bool) {
	for _, c := range list {
		if c.ID == id {
			return c, true
		}
	}
	return Content{}, false
}

func restOf(contents []Content, others []OtherMsg) []BodyPartID {
	var ids []BodyPartID
	for _, c := range contents {
		ids = append(ids, c.ID)
	}
	for _, o := range others {
		ids = append(ids, o.ID)
	}
	return ids
}
