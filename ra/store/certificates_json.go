// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/hex"
	"errors"
	"time"
)

// CertificatesJSON are entries of the inventory, in the form of the admin API.
type CertificatesJSON []Certificate

// certificateJSON is one entry. Hashes and serial numbers are lower-case
// hexadecimal, times RFC 3339 in UTC; what isn't there is left out.
type certificateJSON struct {
	ID       string           `json:"id"`
	State    CertificateState `json:"state"`
	Doubtful bool             `json:"doubtful,omitempty"`
	Upstream string           `json:"upstream"`
	Profile  string           `json:"profile,omitempty"`
	Label    string           `json:"label,omitempty"`
	Op       string           `json:"op,omitempty"`
	Identity string           `json:"identity,omitempty"`
	Names    string           `json:"names,omitempty"`

	Serial    string    `json:"serial,omitempty"`
	OwnSerial bool      `json:"own_serial,omitempty"`
	NotBefore time.Time `json:"not_before,omitzero"`
	NotAfter  time.Time `json:"not_after,omitzero"`
	SHA256    string    `json:"sha256,omitempty"`
	SPKI      string    `json:"spki_sha256,omitempty"`
	Replaces  string    `json:"replaces_sha256,omitempty"`
	Ref       string    `json:"ref,omitempty"`
	DER       []byte    `json:"der,omitempty"`

	Asked    time.Time `json:"asked,omitzero"`
	Changed  time.Time `json:"changed,omitzero"`
	Revoked  time.Time `json:"revoked,omitzero"`
	Reason   int       `json:"reason,omitempty"`
	By       string    `json:"by,omitempty"`
	Blocked  time.Time `json:"blocked,omitzero"`
	Imported time.Time `json:"imported,omitzero"`
	Node     string    `json:"node,omitempty"`
	Lease    time.Time `json:"lease,omitzero"`
}

// MarshalJSON implements json.Marshaler.
func (l CertificatesJSON) MarshalJSON() ([]byte, error) {
	return encode(l, func(c Certificate) (certificateJSON, error) {
		return certificateJSON{
			ID: c.ID, State: c.State, Doubtful: c.Doubtful(time.Now()), Upstream: c.Upstream, Profile: c.Profile, Label: c.Label, Op: c.Op,
			Identity: c.Identity, Names: c.Names, Serial: c.Serial, OwnSerial: c.OwnSerial, NotBefore: c.NotBefore, NotAfter: c.NotAfter,
			SHA256: hexOf(c.SHA256), SPKI: hexOf(c.SPKI), Replaces: hexOf(c.Replaces), Ref: c.Ref, DER: c.DER, Asked: c.Asked, Changed: c.Changed,
			Revoked: c.Revoked, Reason: c.Reason, By: c.By, Blocked: c.Blocked, Imported: c.Imported, Node: c.Node, Lease: c.Lease,
		}, nil
	})
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *CertificatesJSON) UnmarshalJSON(data []byte) (err error) {
	*l, err = decode(data, func(j certificateJSON) (Certificate, error) {
		c := Certificate{
			ID: j.ID, State: j.State, Upstream: j.Upstream, Profile: j.Profile, Label: j.Label, Op: j.Op, Identity: j.Identity, Names: j.Names,
			Serial: j.Serial, OwnSerial: j.OwnSerial, NotBefore: j.NotBefore, NotAfter: j.NotAfter, Ref: j.Ref, DER: j.DER, Asked: j.Asked,
			Changed: j.Changed, Revoked: j.Revoked, Reason: j.Reason, By: j.By, Blocked: j.Blocked, Imported: j.Imported, Node: j.Node, Lease: j.Lease,
		}
		return c, errors.Join(ofHex(&c.SHA256, j.SHA256), ofHex(&c.SPKI, j.SPKI), ofHex(&c.Replaces, j.Replaces))
	})
	return err
}

func hexOf(sum [32]byte) string {
	if sum == [32]byte{} {
		return ""
	}
	return hex.EncodeToString(sum[:])
}

func ofHex(into *[32]byte, text string) error {
	if text == "" {
		return nil
	}
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) != len(into) {
		return errors.New("want a SHA-256 in hexadecimal")
	}
	copy(into[:], sum)
	return nil
}
