// SPDX-License-Identifier: Apache-2.0

//go:build unix

package storetest

import (
	"os"
	"syscall"
	"time"
)

// nobody is the user that servers run as where the tests are root: nobody on
// Debian, and nobody else's number elsewhere.
const nobody = 65534

// unprivileged makes a program run as that user: PostgreSQL refuses root.
func unprivileged() *syscall.SysProcAttr {
	attr := dying()
	if os.Getuid() == 0 {
		attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	return attr
}

// give gives that user a file.
func give(path string) error {
	if os.Getuid() != 0 {
		return nil
	}
	return os.Chown(path, nobody, nobody)
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // this process is there
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
