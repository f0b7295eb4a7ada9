// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package storetest

import "syscall"

func dying() *syscall.SysProcAttr { return new(syscall.SysProcAttr) }
