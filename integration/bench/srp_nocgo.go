// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package main

import "errors"

func dialSRP(string) (*connection, error) {
	return nil, errors.New("the rows `srp` take cgo and the headers of OpenSSL (Debian: gcc, libssl-dev)")
}
