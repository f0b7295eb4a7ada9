// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// A RetryKey tells whether two requests are the same one, sent again. Its CSR may
// have been made anew, with another linking value and signature (RFC 7030 section
// 4.2.3); the key pair stays.
type RetryKey [sha256.Size]byte

// A retry is what the key is made of. Another identity never has the same one.
type retry struct {
	identity string // as retryIdentity has it
	label    string
	op       policy.Op
	spki     []byte // of the CSR; none where the key is made for the device
	// wanted is the policy.Plan's Digest, which has neither times nor serial.
	wanted [sha256.Size]byte
	renews *x509.Certificate // nil: nothing is replaced
}

func (r retry) key() RetryKey {
	replaced := []byte{}
	if r.renews != nil {
		sum := sha256.Sum256(r.renews.Raw)
		replaced = sum[:]
	}
	return framed([]byte("retry 1"), []byte(r.identity), []byte(r.label), []byte(r.op), r.spki, r.wanted[:], replaced)
}

// retryKey is that of a task which was decided.
func (t task) retryKey(op policy.Op, label string, plan policy.Plan, renews *x509.Certificate) (RetryKey, error) {
	wanted, err := plan.Digest()
	if err != nil {
		return RetryKey{}, err
	}
	r := retry{identity: retryIdentity(t.who, t.role, t.csr), label: label, op: op, wanted: wanted, renews: renews}
	if t.making == nil {
		r.spki = t.csr.RawSPKI
	}
	return r.key(), nil
}

// retryIdentity says who asks, by all that was proven: certificate, accounts and
// one-time passwords. A registration authority asks for many: of its requests
// each is for the names in it.
func retryIdentity(who policy.Identity, role string, request *csr.Request) string {
	var parts []string
	if who.Cert != nil {
		parts = append(parts, "certificate "+sha256Hex(who.Cert.Raw))
	}
	for _, account := range who.Accounts {
		parts = append(parts, fmt.Sprintf("account %q %q", account.Method, account.User))
	}
	for _, p := range who.Passwords {
		// However it was proven: the client may choose another way for the repeat.
		parts = append(parts, fmt.Sprintf("one_time_password %q", p.ID))
	}
	slices.Sort(parts)
	if role == policy.RoleRA && request != nil {
		parts = append(parts, "for "+namesText(request))
	}
	return strings.Join(slices.Compact(parts), " ")
}

// framed hashes parts so that none of them runs into the next.
func framed(parts ...[]byte) [sha256.Size]byte {
	h := sha256.New()
	for _, part := range parts {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))) // a hash gives no error
		_, _ = h.Write(part)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
