// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// A OneTimePassword is one that a request has proven. The zero value is none.
type OneTimePassword struct {
	// ID names it in records; it is no secret.
	ID string
	// Via is how it came: ViaBasic, ViaChallenge, ViaProof or ViaProofV1.
	Via string
	// Bound are the names that it was made for.
	Bound   BoundNames
	Expires time.Time
}

// How a one-time password comes.
const (
	ViaBasic     = "basic"         // as the password of HTTP Basic (RFC 7030 section 3.2.3)
	ViaChallenge = "otp_challenge" // as the attribute otpChallenge (RFC 7894 section 3.1)
	// ViaProof is by an identity proof in a CMC message (RFC 5272 section 6.2):
	// the password itself isn't sent.
	ViaProof = "identity_proof"
	// ViaProofV1 is by one of the first version, which fixes SHA-1 (section 6.2.2).
	// A line takes it as ViaProof where it has `v1`.
	ViaProofV1 = "identity_proof_v1"
)

// BoundNames are the names that a certificate must have, as far as they were
// said.
type BoundNames struct {
	Names csr.Names
	// Subject and SAN say which part of Names counts. The other is free.
	Subject, SAN bool
}

// A Device is an entry of a device registry that a client certificate is of.
type Device struct {
	Registry string
	// Issuer and Identity are those of the entry: the key identifier of the
	// IDevID's issuer, and "serialNumber:VALUE" or what
	// csr.GeneralName.DeviceIdentity gives.
	Issuer, Identity string
	State            DeviceState
	// Again says that the device has begun its first enrolment, and may repeat
	// it: the answer may have been lost.
	Again bool
}

// ID names the device in records.
func (d Device) ID() string { return d.Registry + "/" + d.Issuer + "/" + d.Identity }

// DeviceState is the state of an entry.
type DeviceState string

// The states. Any other is as Blocked.
const (
	Expected DeviceState = "expected" // it may have its first certificate
	Enrolled DeviceState = "enrolled" // it has had it
	Blocked  DeviceState = "blocked"  // it gets nothing
)

// DeviceKeys are what a certificate is looked up by in a registry.
type DeviceKeys struct {
	// Issuer is the authorityKeyIdentifier in lower-case hexadecimal, which an
	// IDevID has (IEEE 802.1AR). Without one there is nothing to look up but
	// the certificate itself.
	Issuer     string
	Identities []string
	// Certificate is the SHA-256 of the whole certificate.
	Certificate [sha256.Size]byte
}

// SerialIdentity is the Identity of a subject's serialNumber.
func SerialIdentity(serial string) string { return "serialNumber:" + serial }

// DeviceKeysOf gives what a certificate is looked up by. Of two serial numbers
// nobody could say which one is the device's: then neither counts.
func DeviceKeysOf(cert *x509.Certificate) DeviceKeys {
	keys := DeviceKeys{Issuer: hex.EncodeToString(cert.AuthorityKeyId), Certificate: sha256.Sum256(cert.Raw)}
	names, err := csr.NamesOf(cert)
	if err != nil {
		return keys
	}
	if got := (celSubject{names.Subject}).values(serialNumber); len(got) == 1 && got[0] != "" {
		keys.Identities = append(keys.Identities, SerialIdentity(got[0]))
	}
	for _, name := range names.SAN {
		if identity, ok := name.DeviceIdentity(); ok {
			keys.Identities = append(keys.Identities, identity)
		}
	}
	return keys
}

// A Use is something that a decision uses up: it is good once.
type Use struct {
	Kind UseKind
	ID   string
}

// UseKind is what is used up.
type UseKind string

// The kinds.
const (
	UsePassword UseKind = "password" // a one-time password, by its ID
	UseDevice   UseKind = "device"   // the first enrolment of a device, by its ID
)
