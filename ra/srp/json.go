// SPDX-License-Identifier: Apache-2.0

package srp

import (
	"encoding/json"
	"time"
)

// UsersJSON are users as the admin API has them. Those that are to be added have
// their verifiers in it: it is one of the two places where these are encoded, the
// other is a file.
type UsersJSON []User

type userJSON struct {
	Realm    string    `json:"realm"`
	User     string    `json:"user"`
	Group    string    `json:"group"`
	Salt     []byte    `json:"salt,omitempty"`
	Verifier []byte    `json:"verifier,omitempty"`
	Note     string    `json:"note,omitempty"`
	Created  time.Time `json:"created,omitzero"`
	Revoked  time.Time `json:"revoked,omitzero"`
}

// MarshalJSON implements json.Marshaler.
func (l UsersJSON) MarshalJSON() ([]byte, error) {
	out := make([]userJSON, len(l))
	for i, u := range l {
		out[i] = userJSON{Realm: u.Realm, User: u.User, Group: u.Group.Name(), Salt: u.Salt, Verifier: u.V, Note: u.Note, Created: u.Created, Revoked: u.Revoked}
	}
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler. Whether users can be added, Check
// says.
func (l *UsersJSON) UnmarshalJSON(data []byte) error {
	var in []userJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	users := make(UsersJSON, len(in))
	for i, u := range in {
		group, err := GroupNamed(u.Group)
		if err != nil {
			return err
		}
		users[i] = User{Verifier: Verifier{Realm: u.Realm, User: u.User, Group: group, Salt: u.Salt, V: u.Verifier}, Note: u.Note, Created: u.Created, Revoked: u.Revoked}
	}
	*l = users
	return nil
}
