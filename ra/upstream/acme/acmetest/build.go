// SPDX-License-Identifier: Apache-2.0

package acmetest

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// version is that of the pebble that is built: no part of our own module, which
// stays without it.
const version = "v2.10.1"

// BinaryVariable names a directory with pebble and pebble-challtestsrv that are
// ready, in place of those of version.
const BinaryVariable = "ESTRA_PEBBLE"

var programs = []string{"pebble", "pebble-challtestsrv"}

// binary is the path of one of the programs, which are built once.
func binary(t testing.TB, program string) string {
	t.Helper()
	dir, err := binaries()
	if err != nil {
		t.Fatalf("acmetest: this test needs pebble: %v", err)
	}
	return filepath.Join(dir, program)
}

var binaries = sync.OnceValues(func() (string, error) {
	if dir := os.Getenv(BinaryVariable); dir != "" {
		return dir, upstreamtest.Present(dir, programs)
	}
	return upstreamtest.Built("pebble", version, programs, func(dir string) error {
		args := []string{"install"}
		for _, program := range programs {
			args = append(args, "github.com/letsencrypt/pebble/v2/cmd/"+program+"@"+version)
		}
		return upstreamtest.Go(dir, []string{"GOBIN=" + dir}, args...)
	})
})
