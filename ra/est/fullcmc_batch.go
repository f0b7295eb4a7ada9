// SPDX-License-Identifier: Apache-2.0

package est

import (
	"slices"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
)

// batch takes the messages that an RA has collected in its own (RFC 5272 section
// 6.17). Each is answered by a message of its own; what becomes of one is not
// told one layer up.
func (x *exchange) batch() *ra.Error {
	m := x.cmc
	control, value, present, err := m.data.Controls.Only(cmc.OIDBatchRequests)
	if !present && err == nil {
		return nil
	}
	var ids []cmc.BodyPartID
	if err == nil {
		ids, err = cmc.ParsePath(value)
	}
	if err != nil {
		return cmcFailure("batchRequests", err)
	}
	for i, id := range ids {
		if _, ok := m.data.Content(id); !ok || slices.Contains(ids[:i], id) {
			return cmcFailure("batchRequests", missing(cmc.Control{ID: control, Type: cmc.NewControl(control, cmc.OIDBatchRequests).Type}))
		}
	}
	for i, id := range ids {
		content, _ := m.data.Content(id)
		der, err := x.within(id).answerWithin(content.Raw, &x.parts)
		if err != nil {
			return ra.Fail(ra.Fault, "the answer can't be signed", err)
		}
		m.replies.contents = append(m.replies.contents, cmc.Content{ID: firstContent + cmc.BodyPartID(i), Raw: der})
	}
	m.replies.granted++
	m.replies.full = true
	m.replies.statuses = append(m.replies.statuses, cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(control)})
	return nil
}

// firstContent is beyond the ids of the controls of an answer. The answers stand
// in the order in which batchRequests names the messages.
const firstContent = 1 << 16

// within is the exchange of a message in this one. Who brings it is the RA that
// has signed the one around it, as if it were connected.
func (x *exchange) within(id cmc.BodyPartID) *exchange {
	y := *x
	y.cmc, y.part, y.parts, y.csr, y.asked, y.outcome = &cmcMessage{inner: true, unsigned: x.cmc.lowered(id)}, "", nil, nil, false, ra.Outcome{}
	y.id = x.id + "." + id.String()
	return &y
}

// answerWithin gives the Full PKI Response to a message within.
func (x *exchange) answerWithin(message []byte, parts *[]*exchange) ([]byte, error) {
	defer func() { // after a panic too
		if len(x.parts) == 0 {
			x.parts = []*exchange{x}
		}
		*parts = append(*parts, x.parts...)
	}()
	fail := x.receiveMessage(message)
	if fail == nil {
		fail = x.cmcIdentity()
	}
	if fail == nil {
		fail = x.processMessage()
	}
	x.failed = fail
	return x.fullResponse(x.statusesFor(fail))
}
