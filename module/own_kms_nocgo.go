// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || nopkcs11

package module

// pkcs11Built says that PKCS #11 modules can be loaded.
const pkcs11Built = false
