// SPDX-License-Identifier: Apache-2.0

// Package filelock keeps what one process has from others.
package filelock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// errLocked is what the system says of a lock that another process has.
var errLocked = errors.New("locked")

// maxHolder bounds what is read of a lock file.
const maxHolder = 64

// A fileLock is held as long as its file is open: the system releases it when
// the process ends, however it ends. The file stays: removing it would let two
// processes each lock a file of their own.
type fileLock struct{ *os.File }

// Take takes the lock of a file, which it makes. The file says which process
// has it. Closing gives it back.
func Take(path string) (io.Closer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(file); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(file, maxHolder)) // Windows doesn't let us
		return nil, errors.Join(lockError(err, strings.TrimSpace(string(holder))), file.Close())
	}
	err = file.Truncate(0)
	if err == nil {
		_, err = file.WriteAt(fmt.Appendf(nil, "process %d\n", os.Getpid()), 0)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return fileLock{file}, nil
}

func lockError(err error, holder string) error {
	if !errors.Is(err, errLocked) {
		return err
	}
	if holder == "" {
		holder = "another process"
	}
	return fmt.Errorf("it is in use by %q: a running server is asked over its admin API", holder)
}
