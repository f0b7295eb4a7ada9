// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/binding"
)

// order fixes serial number and times: the intent. Nothing else makes an
// Order.
func (a *Authority) order(t task, plan policy.Plan, takesSerial bool) (Order, error) {
	if t.csr == nil {
		return Order{}, errors.New("there is no certification request")
	}
	if plan.Validity < time.Second {
		return Order{}, fmt.Errorf("the plan has a validity of %s", plan.Validity)
	}
	serial, err := newSerial(a.random())
	if err != nil {
		return Order{}, fmt.Errorf("no random serial number: %w", err)
	}
	notBefore := t.now.UTC().Truncate(time.Second)
	return Order{
		plan:      plan,
		serial:    serial,
		notBefore: notBefore,
		// RFC 5280 section 4.1.2.5: the last second belongs to the validity.
		notAfter:    notBefore.Add(plan.Validity - time.Second).Truncate(time.Second),
		csr:         t.csr,
		evidence:    t.evidence,
		takesSerial: takesSerial,
		made:        true,
	}, nil
}

func evidenceOf(id string, linking policy.Linking, channel binding.Channel) Evidence {
	e := Evidence{RequestID: id, Linking: linking}
	if linking == policy.Matched {
		e.Binding = channel.Type()
	}
	return e
}

// newSerial makes a serial number of 20 octets, the most that RFC 5280
// section 4.1.2.2 allows, with 158 random bits: the top bit is clear, since
// the number is positive, and the next is set, so that it is never zero and
// always as long.
func newSerial(random io.Reader) (*big.Int, error) {
	var b [20]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return nil, err
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b[:]), nil
}
