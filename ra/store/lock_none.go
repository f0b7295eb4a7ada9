// SPDX-License-Identifier: Apache-2.0

//go:build !windows && (!unix || aix || solaris)

package store

import (
	"errors"
	"os"
)

func lock(*os.File) error {
	return errors.New("this system has no lock that ends with its process, so a store in a file isn't safe here")
}
