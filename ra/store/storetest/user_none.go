// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package storetest

import "syscall"

// PostgreSQL gives up an administrator's rights by itself.
func unprivileged() *syscall.SysProcAttr { return nil }

func give(string) error { return nil }
