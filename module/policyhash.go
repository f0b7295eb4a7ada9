// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// PolicyHash is the SHA-256 of a policy file and of each file that it names,
// in hexadecimal, joined by +. Of a file that can't be read it is empty, and of
// a policy with a mistake it is that of the policy file alone: what can't be
// read here may be readable where Caddy runs, and Provision says what is wrong.
func PolicyHash(name string) string {
	src, err := ReadPolicy(name)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(src)
	hashes := []string{hex.EncodeToString(sum[:])}
	if compiled, err := loadPolicy("policy", name); err == nil {
		for _, list := range compiled.ListFiles() {
			hashes = append(hashes, list.SHA256)
		}
	}
	return strings.Join(hashes, "+")
}
