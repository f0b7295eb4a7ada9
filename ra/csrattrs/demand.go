// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"fmt"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// What is taken over of another server's /csrattrs goes to every device that asks.
const (
	mostDemanded = 32      // attributes, extensions and keys, each
	mostValues   = 8 << 10 // bytes of all extensions
)

// Demand is what a server wants, for a profile that passes requests on to it. More
// than a request could sensibly carry is an error.
func (w Wanted) Demand() (policy.Demand, error) {
	d := policy.Demand{Keys: w.Keys, Signature: w.Signature}
	for _, a := range w.Attributes {
		d.Attributes = append(d.Attributes, a.Type)
	}
	size := 0
	for _, e := range w.Extensions {
		size += len(e.Value)
		one := csr.Extension{ID: e.ID, Critical: e.Critical}
		if e.complete() {
			one.Value = e.Value
		}
		d.Extensions = append(d.Extensions, one)
	}
	if n := max(len(d.Keys), len(d.Attributes), len(d.Extensions)); n > mostDemanded {
		return policy.Demand{}, fmt.Errorf("csrattrs: %d of a kind are asked for, and %d are the most that is taken over", n, mostDemanded)
	}
	if size > mostValues {
		return policy.Demand{}, fmt.Errorf("csrattrs: the extensions have %d bytes, and %d are the most that is taken over", size, mostValues)
	}
	return d, nil
}
