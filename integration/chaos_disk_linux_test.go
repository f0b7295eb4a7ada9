// SPDX-License-Identifier: Apache-2.0

package integration

import (
	mathrand "math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A process whose files may not grow gets the error of a full disk for what it
// writes, where it ignores the signal. No right of an administrator is needed, and
// none helps.
func init() {
	if os.Getenv(asCaddy) == "1" {
		signal.Ignore(syscall.SIGXFSZ)
		return
	}
	faults = append(faults,
		fault{"the disk is full for a while", 4, diskFull},
		fault{"the disk takes no byte for a while", 4, diskReadOnly},
	)
}

// filesUpTo bounds the size of the server's files.
func (c *chaos) filesUpTo(most uint64) {
	limit := unix.Rlimit{Cur: most, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(c.site.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		c.t.Error(err)
	}
}

// bounded lets devices enrol while files have no room for a while.
func (c *chaos) bounded(most func() uint64) func(int) {
	pause := func(most int) { time.Sleep(time.Duration(mathrand.IntN(most)) * time.Millisecond) }
	return func(int) {
		c.site.run()
		c.busy(func() {
			pause(200)
			c.filesUpTo(most())
			pause(400)
			c.filesUpTo(unix.RLIM_INFINITY)
			pause(400)
		})
	}
}

func diskFull(t *testing.T, c *chaos) func(int) {
	fronted(t, c)
	return c.bounded(func() uint64 {
		var size uint64
		if info, err := os.Stat(filepath.Join(c.site.dir, "data", "caddy", "est", "store.db-wal")); err == nil {
			size = uint64(info.Size())
		}
		return size + mathrand.Uint64N(64<<10)
	})
}

func diskReadOnly(t *testing.T, c *chaos) func(int) {
	fronted(t, c)
	return c.bounded(func() uint64 { return 0 })
}
