// SPDX-License-Identifier: Apache-2.0

package est

import (
	"encoding/asn1"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
)

// ofRA are the controls that only a registration authority of `on_behalf` may
// send (RFC 5272 sections 6.5.1 and 6.8, RFC 6402 section 2.5). Its word for a
// proof of possession or of an identity adds nothing here: the one is verified
// again, and for the other it answers by its names. What it changes is decided as
// if the device had asked for it.
var ofRA = map[string]bool{cmc.OIDLraPOPWitness: true, cmc.OIDRAIdentityWitness: true, cmc.OIDModCertTemplate: true, cmc.OIDBatchRequests: true}

// checkWitnesses holds that what an RA says is about this message.
func (x *exchange) checkWitnesses() error {
	d := x.cmc.data
	for _, c := range d.Controls.All(cmc.OIDLraPOPWitness) {
		value, err := c.Value()
		if err != nil {
			return err
		}
		w, err := cmc.ParsePOPWitness(value)
		if err != nil {
			return err
		}
		if err := x.refersTo(c, w.Content, w.Requests); err != nil {
			return err
		}
	}
	for _, c := range d.Controls.All(cmc.OIDRAIdentityWitness) {
		value, err := c.Value()
		if err != nil {
			return err
		}
		path, err := cmc.ParsePath(value)
		if err != nil {
			return err
		}
		if len(path) > 1 || !slices.Contains(d.IDs(), path[0]) && path[0] != 0 {
			return missing(c)
		}
	}
	return nil
}

// refersTo: the requests are in this message and nowhere within.
func (x *exchange) refersTo(c cmc.Control, content cmc.BodyPartID, requests []cmc.BodyPartID) error {
	for _, id := range requests {
		if _, ok := x.cmc.data.Request(id); !ok || content != 0 {
			return missing(c)
		}
	}
	return nil
}

// missing: RFC 5272 section 6.5.1, "badRequest is returned that references this
// control".
func missing(c cmc.Control) error {
	return &cmc.Error{Body: c.ID, Fail: cmc.BadRequest, Path: cmc.Name(c.Type), Reason: "it refers to what isn't in the message"}
}

// changed gives the request as the RA that brings it asks for it. Of several
// changes each is made to what the one before has left, in the order sent.
func (x *exchange) changed(id cmc.BodyPartID, request *csr.Request) (*csr.Request, *ra.Error) {
	for _, c := range x.cmc.data.Controls.All(cmc.OIDModCertTemplate) {
		value, err := c.Value()
		if err != nil {
			return nil, cmcFailure("modCertTemplate", err)
		}
		m, err := cmc.ParseModification(value)
		if err == nil && (len(m.Data) != 1 || x.refersTo(c, m.Data[0], m.Requests) != nil) {
			err = missing(c)
		}
		if err != nil {
			return nil, cmcFailure("modCertTemplate", err)
		}
		if !slices.Contains(m.Requests, id) {
			continue
		}
		change, err := changeOf(m)
		if err == nil {
			request, err = request.Changed(change)
		}
		if err != nil {
			return nil, ra.Fail(ra.Malformed, fmt.Sprintf("modCertTemplate for request %d", id), err)
		}
		if end := m.Template.NotAfter; m.Replace && !end.IsZero() && (x.until.IsZero() || end.Before(x.until)) {
			x.until = end
		}
	}
	return request, nil
}

// changeOf reads a change of names and extensions. When the certificate begins
// is for the CA, and when it ends the policy bounds; no other field is an RA's
// to say: another key would break the proof of possession.
func changeOf(m cmc.Modification) (csr.Change, error) {
	t := m.Template
	if t.SPKI != nil || t.Serial != nil || t.Issuer != nil || t.SigningAlg != nil || t.IssuerUID != nil || t.SubjectUID != nil {
		return csr.Change{}, fmt.Errorf("only subject, extensions and validity can be changed")
	}
	if m.Replace {
		return csr.Change{Subject: t.Subject, Extensions: t.Extensions}, nil
	}
	ids, err := extensionIDs(t.Extensions)
	return csr.Change{NoSubject: t.Subject != nil, Without: ids}, err
}

// extensionIDs are those of the extensions that are taken away.
func extensionIDs(list []byte) ([]asn1.ObjectIdentifier, error) {
	if list == nil {
		return nil, nil
	}
	input, body := cryptobyte.String(list), cryptobyte.String(nil)
	if !input.ReadASN1(&body, der.SEQUENCE) {
		return nil, fmt.Errorf("the extensions are not DER")
	}
	var ids []asn1.ObjectIdentifier
	for !body.Empty() {
		var one cryptobyte.String
		var id asn1.ObjectIdentifier
		if !body.ReadASN1(&one, der.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&id) {
			return nil, fmt.Errorf("the extensions are not DER")
		}
		ids = append(ids, id)
	}
	return ids, nil
}
