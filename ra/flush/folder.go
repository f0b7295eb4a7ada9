// SPDX-License-Identifier: Apache-2.0

package flush

import (
	"errors"
	"os"
	"runtime"
)

// Folder makes a new name in a folder survive a loss of power. Windows does that by
// itself.
func Folder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
