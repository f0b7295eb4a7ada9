// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// mostStoreText bounds a text in the ledger, in bytes.
const mostStoreText = 1024

// storeText is text that every engine of the store can have.
func storeText(s string) string {
	if len(s) > mostStoreText {
		s = s[:mostStoreText]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
}

// SerialText is a serial number as records have it: two digits a byte.
func SerialText(n *big.Int) string {
	if n == nil {
		return ""
	}
	if n.Sign() == 0 {
		return "00"
	}
	return hex.EncodeToString(n.Bytes())
}

func serialOf(text string) (*big.Int, bool) {
	b, err := hex.DecodeString(text)
	return new(big.Int).SetBytes(b), err == nil && len(b) > 0
}

func certificateText(cert *x509.Certificate) string {
	names, err := csr.NamesOf(cert)
	if err != nil {
		return cert.Subject.String()
	}
	return namesOf(names)
}

// guard makes an error of a panic in an adapter.
func guard(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return do()
}
