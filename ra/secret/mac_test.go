// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"encoding/hex"
	"testing"
)

// RFC 4231 section 4.3.
func TestMACIsHMACWithSHA256(t *testing.T) {
	got := hex.EncodeToString(MAC([]byte("Jefe"), []byte("what do ya want for nothing?")))
	if got != "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" {
		t.Errorf("got %s", got)
	}
}
