// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// PrivateDir is where a CA that was built stays from one test process to the
// next. A directory of that name that somebody else can write to isn't used.
func PrivateDir(name string) (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("estra-%s-%d", name, os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return "", err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || info.Mode().Perm() != 0o700 || !ok || int(owner.Uid) != os.Getuid() {
		return "", fmt.Errorf("%s isn't a directory of ours alone", dir)
	}
	return dir, nil
}

// Built gives the directory of a CA's programs in a version that is no part of our own
// module: they are built once, and stay. Build gets an empty directory. It is beside,
// so that another process never runs half of what is built.
func Built(name, version string, programs []string, build func(dir string) error) (string, error) {
	private, err := PrivateDir(name)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(private, version)
	if Present(dir, programs) == nil {
		return dir, nil
	}
	made, err := os.MkdirTemp(private, "build")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(made)
	if err := build(made); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	for _, program := range programs {
		if err := os.Rename(filepath.Join(made, program), filepath.Join(dir, program)); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// Present says which of the programs a directory lacks.
func Present(dir string, programs []string) error {
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return err
		}
	}
	return nil
}

// Go runs a command of Go that builds what isn't part of our module.
func Go(dir string, environment []string, args ...string) error {
	cmd := exec.Command("go", args...) //nolint:gosec // what tests build
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off"), environment...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, out)
	}
	return nil
}
