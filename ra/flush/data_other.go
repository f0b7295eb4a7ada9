// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package flush

import "os"

// Data has what was written to a file on the disk when it returns.
func Data(file *os.File) error { return file.Sync() }
