// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"strings"
	"time"
)

// Pending is a request that waits, or has waited, for approval.
type Pending struct {
	// ID names it, for as long as it waits: each repeat has it, and what people
	// say of it.
	ID Text `json:"id"`
	// Needs is how many have to approve it.
	Needs int `json:"needs"`
	// Approvers are those who have.
	Approvers []Approver `json:"approvers,omitempty"`
	// Requester is who asks, as METHOD:ID, where the operation is approval: who
	// decides stands under who.
	Requester Text `json:"requester,omitempty"`
	// Note is what was said with the decision, and Disclosed that the client may
	// read it.
	Note      Text `json:"note,omitempty"`
	Disclosed bool `json:"disclosed,omitempty"`
	// Differences are what the policy in force decides otherwise than that by which
	// the request waits.
	Differences []Text `json:"differences,omitempty"`
}

// Approver is who has approved a request.
type Approver struct {
	// Name is the common name of the certificate, or what was stated.
	Name Text `json:"name"`
	// Method is client_cert, or stated where nobody has verified the name.
	Method string    `json:"method"`
	At     time.Time `json:"at"`
	Note   Text      `json:"note,omitempty"`
}

// List joins texts, for people.
func List(all []Text) string {
	texts := make([]string, len(all))
	for i, t := range all {
		texts[i] = t.String()
	}
	return strings.Join(texts, ", ")
}
