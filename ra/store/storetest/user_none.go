// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package storetest

import (
	"syscall"
	"time"
)

// PostgreSQL gives up an administrator's rights by itself.
func unprivileged() *syscall.SysProcAttr { return nil }

func give(string) error { return nil }

// cpuTime isn't known here.
func cpuTime() time.Duration { return 0 }
