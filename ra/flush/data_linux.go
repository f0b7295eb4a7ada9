// SPDX-License-Identifier: Apache-2.0

package flush

import (
	"os"
	"syscall"
)

// Data has what was written to a file on the disk when it returns, and of what is
// known of the file as much as reading that takes (fdatasync(2)): not the time it was
// written, which costs the file system a flush of its own.
func Data(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := raw.Control(func(fd uintptr) {
		for {
			if failed = syscall.Fdatasync(int(fd)); failed != syscall.EINTR {
				return
			}
		}
	}); err != nil {
		return err
	}
	if failed != nil {
		return &os.PathError{Op: "fdatasync", Path: file.Name(), Err: failed}
	}
	return nil
}
