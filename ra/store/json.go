// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/secret"
)

// The forms in which the admin API has what is stored.
type (
	// PasswordsJSON has no secrets.
	PasswordsJSON []Password
	// CreatedJSON has each password in clear: it is the one place where a
	// secret is encoded, for who has made it.
	CreatedJSON []Created
	// TemplatesJSON are what passwords are to be made for.
	TemplatesJSON []Template
	// DevicesJSON are entries of registries.
	DevicesJSON []Device
)

type passwordJSON struct {
	ID       string    `json:"id,omitempty"`
	Password string    `json:"password,omitempty"`
	Label    string    `json:"label"`
	Subject  []byte    `json:"subject,omitempty"` // DER
	SAN      []byte    `json:"san,omitempty"`     // DER
	Created  time.Time `json:"created,omitzero"`
	Expires  time.Time `json:"expires"`
	Refusals int       `json:"refusals,omitempty"`
	Revoked  time.Time `json:"revoked,omitzero"`
	Claim    claimJSON `json:"claim,omitzero"`
	Proof    bool      `json:"proof,omitempty"`    // of a template: for CMC
	ProofV1  bool      `json:"proof_v1,omitempty"` // likewise
}

type claimJSON struct {
	Until     time.Time `json:"until,omitzero"`
	Issued    time.Time `json:"issued,omitzero"`
	Collected time.Time `json:"collected,omitzero"`
}

func (c Claim) json() claimJSON { return claimJSON{c.Until, c.Issued, c.Collected} }

func (c claimJSON) claim() Claim {
	return Claim{Until: c.Until, Issued: c.Issued, Collected: c.Collected, set: !c.Until.IsZero()}
}

func (p Password) json() (passwordJSON, error) {
	out := passwordJSON{
		ID: p.ID, Label: p.Label, Created: p.Created, Expires: p.Expires, Refusals: p.Refusals, Revoked: p.Revoked, Claim: p.Claim.json(), Proof: p.Proof, ProofV1: p.ProofV1,
	}
	var err error
	out.Subject, out.SAN, err = encodeNames(p.Names)
	return out, err
}

func (p passwordJSON) password() (Password, error) {
	names, err := decodeNames(p.Subject, p.SAN)
	return Password{
		ID: p.ID, Template: Template{Label: p.Label, Names: names, Expires: p.Expires, Proof: p.Proof, ProofV1: p.ProofV1},
		Created: p.Created, Refusals: p.Refusals, Revoked: p.Revoked, Claim: p.Claim.claim(),
	}, err
}

// encode makes a JSON list.
func encode[T, J any](list []T, each func(T) (J, error)) ([]byte, error) {
	out := make([]J, len(list))
	for i, item := range list {
		var err error
		if out[i], err = each(item); err != nil {
			return nil, err
		}
	}
	return json.Marshal(out)
}

func decode[T, J any](data []byte, each func(J) (T, error)) ([]T, error) {
	var in []J
	if err := json.Unmarshal(data, &in); err != nil {
		return nil, err
	}
	out := make([]T, len(in))
	for i, item := range in {
		var err error
		if out[i], err = each(item); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// MarshalJSON implements json.Marshaler.
func (l PasswordsJSON) MarshalJSON() ([]byte, error) { return encode(l, Password.json) }

// UnmarshalJSON implements json.Unmarshaler.
func (l *PasswordsJSON) UnmarshalJSON(data []byte) (err error) {
	*l, err = decode(data, passwordJSON.password)
	return err
}

// MarshalJSON implements json.Marshaler.
func (l CreatedJSON) MarshalJSON() ([]byte, error) {
	return encode(l, func(c Created) (passwordJSON, error) {
		out, err := c.json()
		out.Password = string(c.Text)
		return out, err
	})
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *CreatedJSON) UnmarshalJSON(data []byte) (err error) {
	*l, err = decode(data, func(p passwordJSON) (Created, error) {
		known, err := p.password()
		return Created{known, secret.Text(p.Password)}, err
	})
	return err
}

// MarshalJSON implements json.Marshaler.
func (l TemplatesJSON) MarshalJSON() ([]byte, error) {
	return encode(l, func(t Template) (passwordJSON, error) { return Password{Template: t}.json() })
}

// UnmarshalJSON implements json.Unmarshaler.
func (l *TemplatesJSON) UnmarshalJSON(data []byte) (err error) {
	*l, err = decode(data, func(p passwordJSON) (Template, error) {
		known, err := p.password()
		if err == nil && known.Expires.IsZero() {
			err = errors.New("a password needs a time at which it expires")
		}
		return known.Template, err
	})
	return err
}

type deviceJSON struct {
	Registry string             `json:"registry,omitempty"`
	Issuer   string             `json:"issuer,omitempty"`
	Identity string             `json:"identity"`
	Note     string             `json:"note,omitempty"`
	State    policy.DeviceState `json:"state,omitempty"`
	Changed  time.Time          `json:"changed,omitzero"`
	Claim    claimJSON          `json:"claim,omitzero"`
	Keys     []decryptKeyJSON   `json:"keys,omitempty"`
}

// decryptKeyJSON has a symmetric key or a password in clear, on the way to who seals it.
type decryptKeyJSON struct {
	ID         []byte `json:"id"`
	Asymmetric bool   `json:"asymmetric,omitempty"`
	Password   bool   `json:"password,omitempty"`
	Value      []byte `json:"value"`
}

// MarshalJSON implements json.Marshaler.
func (l DevicesJSON) MarshalJSON() ([]byte, error) {
	return encode(l, func(d Device) (deviceJSON, error) {
		out := deviceJSON{Registry: d.Registry, Issuer: d.Issuer, Identity: d.Identity, Note: d.Note, State: d.State, Changed: d.Changed, Claim: d.Claim.json()}
		for _, k := range d.Keys {
			out.Keys = append(out.Keys, decryptKeyJSON{k.ID, k.Asymmetric, k.Password, k.Value})
		}
		return out, nil
	})
}

// UnmarshalJSON implements json.Unmarshaler. What is imported is checked as
// ReadDevices checks it.
func (l *DevicesJSON) UnmarshalJSON(data []byte) (err error) {
	*l, err = decode(data, func(d deviceJSON) (Device, error) {
		out := Device{Registry: d.Registry, Issuer: d.Issuer, Identity: d.Identity, Note: d.Note, State: d.State, Changed: d.Changed, Claim: d.Claim.claim()}
		for _, k := range d.Keys {
			key := DecryptKey{ID: k.ID, Asymmetric: k.Asymmetric, Password: k.Password, Value: k.Value}
			if err := key.Check(); err != nil {
				return out, err
			}
			out.Keys = append(out.Keys, key)
		}
		return out, checkIdentity(out.Identity)
	})
	return err
}
