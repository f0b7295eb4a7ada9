// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"fmt"
	"os"
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
