// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
)

// pending takes a part that waits for approval. RFC 7030 section 4.3.2 leaves open
// how that is said; by default it is CMC's way, a status with pendInfo (RFC 5272
// section 6.1.3), since other parts of the message may be granted.
func (r *cmcReply) pending(id cmc.BodyPartID, fail *ra.Error, p *ra.Pended, part *exchange) {
	r.waiting++
	r.retry = max(r.retry, fail.RetryAfter)
	r.full = true
	r.statuses = append(r.statuses, cmc.StatusInfo{
		Status: cmc.Pending, Bodies: cmc.To(id), Text: fail.Public + " (" + part.id + ")",
		Pend: &cmc.PendInfo{Token: []byte(p.ID), Time: part.now.Add(fail.RetryAfter).UTC()},
	})
}

// queries answers queryPending (RFC 5272 section 6.13): each is a part, as the
// request that waits was one.
func (x *exchange) queries() {
	for _, c := range x.cmc.data.Controls.All(cmc.OIDQueryPending) {
		x.processPart(c.ID, x.partOf(x.part, c.ID), func(y *exchange) *ra.Error { return y.cmcQuery(c) })
	}
}

// cmcQuery has a request that waits decided anew, as if it had been sent again. Who
// asks about it must be who has sent it. Possession was proven, and the linking
// compared, when it came.
func (x *exchange) cmcQuery(c cmc.Control) *ra.Error {
	token, err := tokenOf(c)
	if err != nil {
		return cmcFailure("queryPending", err)
	}
	x.waits = token // its record is that of an enrolment
	kept, err := x.s.Authority.Kept(x.r.Context(), token, x.target.label)
	if err != nil {
		return asFailure(err)
	}
	if x.csr, err = requestOf(kept); err != nil {
		return ra.Fail(ra.Fault, "the request that waits can't be read", err)
	}
	x.linking, x.until = kept.Linking, kept.Until
	onBehalf, brought, own, fail := x.gatePart()
	if fail != nil {
		return fail
	}
	return x.tookPart(onBehalf, brought, own)
}

// mostToken is more than a token of ours has.
const mostToken = 64

func tokenOf(c cmc.Control) (string, error) {
	value, err := c.Value()
	if err != nil {
		return "", err
	}
	token, err := cmc.ParseOctets(value)
	if err != nil {
		return "", err
	}
	if len(token) == 0 || len(token) > mostToken {
		return "", &cmc.Error{Fail: cmc.BadRequest, Body: c.ID, Reason: fmt.Sprintf("a token of %d bytes is none of ours", len(token))}
	}
	return string(token), nil
}

// requestOf gives the request that waits, with what a registration authority has
// changed in it.
func requestOf(k ra.Kept) (*csr.Request, error) {
	request, err := sentAs(k)
	if err != nil || k.Asked == nil {
		return request, err
	}
	extensions, err := asn1.Marshal(plainExtensions(k.Asked))
	if err != nil {
		return nil, err
	}
	own, err := asn1.Marshal(plainExtensions(request))
	if err != nil || bytes.Equal(request.RawSubject, k.Asked.RawSubject) && bytes.Equal(own, extensions) {
		return request, err
	}
	change := csr.Change{Subject: k.Asked.RawSubject, Extensions: extensions}
	for _, e := range request.Extensions {
		if _, stays := k.Asked.Extension(e.ID.String()); !stays {
			change.Without = append(change.Without, e.ID)
		}
	}
	return request.Changed(change)
}

func sentAs(k ra.Kept) (*csr.Request, error) {
	if !k.CRMF {
		return csr.Parse(k.Raw)
	}
	message, err := cmc.ParseCertReqMsg(k.Raw)
	if err != nil {
		return nil, err
	}
	return message.CSR()
}

func plainExtensions(r *csr.Request) []pkix.Extension {
	all := make([]pkix.Extension, len(r.Extensions))
	for i, e := range r.Extensions {
		all[i] = pkix.Extension{Id: e.ID, Critical: e.Critical, Value: e.Value}
	}
	return all
}

// keyOfWaiting finds the key that signed a message which only asks about a request
// that waits: the key of that request.
func (x *exchange) keyOfWaiting(u cms.Unverified) (cms.SignerKey, bool) {
	if len(u.Signer.KeyID) == 0 || u.Content.Type != cms.IDPKIData {
		return cms.SignerKey{}, false
	}
	data, err := readPKIData(u.Content.Bytes)
	if err != nil || len(data.Requests) > 0 {
		return cms.SignerKey{}, false
	}
	queries := data.Controls.All(cmc.OIDQueryPending)
	if len(queries) != 1 {
		return cms.SignerKey{}, false
	}
	token, err := tokenOf(queries[0])
	if err != nil {
		return cms.SignerKey{}, false
	}
	kept, err := x.s.Authority.Kept(x.r.Context(), token, x.target.label)
	if err != nil {
		return cms.SignerKey{}, false
	}
	request, err := requestOf(kept)
	if err != nil || request.Key.Public == nil {
		return cms.SignerKey{}, false
	}
	return cms.SignerKey{Public: request.Key.Public}, true
}
