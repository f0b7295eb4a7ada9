// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
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
	serial, err := newSerial(t.now, a.random())
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
// section 4.1.2.2 allows: the top bit is clear, since the number is positive, and
// the next is set, so that it is never zero and always as long. 38 bits are the
// time in seconds, which the certificate tells anyhow, so that an index of many
// grows at its end; then come 120 random bits.
func newSerial(now time.Time, random io.Reader) (*big.Int, error) {
	var b [20]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.Unix())<<24) //nolint:gosec // its low 38 bits
	b[0] = b[0]&0x3f | 0x40
	if _, err := io.ReadFull(random, b[5:]); err != nil {
		return nil, err
	}
	return new(big.Int).SetBytes(b[:]), nil
}

// NewID makes the id of a request: 32 digits in hexadecimal, of which 12 are the
// time, in milliseconds, so that an index of many grows at its end. The others are
// random.
func NewID(now time.Time) string {
	var id [2 + 16]byte
	binary.BigEndian.PutUint64(id[:], uint64(now.UnixMilli()))
	_, _ = rand.Read(id[8:]) // never fails
	return hex.EncodeToString(id[2:])
}
