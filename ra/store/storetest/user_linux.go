// SPDX-License-Identifier: Apache-2.0

package storetest

import "syscall"

// dying ends a program that outlives a killed test. Its signal is PostgreSQL's
// immediate stop.
func dying() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT} }
