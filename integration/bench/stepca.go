// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// startStepCA runs a real step-ca.
func startStepCA(dir string) (ca *stepcatest.CA, err error) {
	defer func() {
		if v := recover(); v != nil {
			failed, ours := v.(startFailed)
			if !ours {
				panic(v)
			}
			err = failed
		}
	}()
	return stepcatest.Start(starter{dir: dir}, stepcatest.Options{}), nil
}

// A starter is as much of a testing.TB as stepcatest asks for. Nothing is
// cleaned up by it: the benchmark stops the CA and removes the folder.
type starter struct {
	testing.TB
	dir string
}

type startFailed string

func (e startFailed) Error() string { return string(e) }

func (starter) Helper()        {}
func (starter) Cleanup(func()) {}

func (starter) Fatal(args ...any)                 { panic(startFailed(fmt.Sprint(args...))) }
func (starter) Fatalf(format string, args ...any) { panic(startFailed(fmt.Sprintf(format, args...))) }

func (s starter) TempDir() string {
	dir := filepath.Join(s.dir, "step-ca")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		panic(startFailed(err.Error()))
	}
	return dir
}
