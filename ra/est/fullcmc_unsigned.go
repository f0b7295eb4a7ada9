// SPDX-License-Identifier: Apache-2.0

package est

import (
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
)

// takeUnsigned reads what goes along with the message, covered by no signature (RFC
// 5272 section 3.2.3): one attribute, of a bounded number of values (cms.ReadSigned).
// This server acts on none of it.
func (m *cmcMessage) takeUnsigned(attributes []cms.Attribute) *ra.Error {
	for _, a := range attributes {
		if a.Type != cmc.OIDUnsignedData {
			continue
		}
		for _, value := range a.Values {
			u, err := cmc.ParseUnsignedData(value)
			if err != nil {
				return cmcFailure("unsignedData", err)
			}
			m.unsigned = append(m.unsigned, u)
		}
	}
	return nil
}

// unsignedFor gives what is about a request: that goes on with it.
func (m *cmcMessage) unsignedFor(request cmc.BodyPartID) (about []cmc.UnsignedData) {
	for _, u := range m.unsigned {
		if u.Path[0] == request {
			about = append(about, u)
		}
	}
	return about
}

// lowered gives what is about something within a message that stands in this one:
// an RA has moved it up, and put the message's id before.
func (m *cmcMessage) lowered(message cmc.BodyPartID) (within []cmc.UnsignedData) {
	for _, u := range m.unsignedFor(message) {
		if u.Path = u.Path[1:]; len(u.Path) > 0 {
			within = append(within, u)
		}
	}
	return within
}
