// SPDX-License-Identifier: Apache-2.0

package acmetest

import (
	"fmt"
	"os"
	"os/exec"
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
	dir := os.Getenv(BinaryVariable)
	if dir != "" {
		return dir, present(dir)
	}
	private, err := upstreamtest.PrivateDir("pebble")
	if err != nil {
		return "", err
	}
	dir = filepath.Join(private, version)
	if present(dir) == nil {
		return dir, nil
	}
	return dir, build(private, dir)
})

func present(dir string) error {
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return err
		}
	}
	return nil
}

// build builds beside, so that another process never runs half of it.
func build(private, dir string) error {
	made, err := os.MkdirTemp(private, "build")
	if err != nil {
		return err
	}
	defer os.RemoveAll(made)
	args := []string{"install"}
	for _, program := range programs {
		args = append(args, "github.com/letsencrypt/pebble/v2/cmd/"+program+"@"+version)
	}
	install := exec.Command("go", args...)
	install.Dir = private
	install.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOBIN="+made)
	if out, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("go install: %w\n%s", err, out)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, program := range programs {
		if err := os.Rename(filepath.Join(made, program), filepath.Join(dir, program)); err != nil {
			return err
		}
	}
	return nil
}
