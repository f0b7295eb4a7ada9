// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	strict "github.com/go-jose/go-jose/v4/json"

	"github.com/caddy-est/estra/ra/secret"
)

// claimsOf are the registered claims (RFC 7519 section 4.1).
type claimsOf struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audience  audience `json:"aud"`
	Expires   *instant `json:"exp"`
	NotBefore *instant `json:"nbf"`
	Issued    *instant `json:"iat"`
}

// readClaims tells capitals from small letters, which encoding/json doesn't.
func readClaims(payload []byte) (c claimsOf, err error) {
	err = strict.Unmarshal(payload, &c)
	return c, err
}

// An audience is a text, or a list of them.
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(source []byte) error {
	var one string
	if json.Unmarshal(source, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(source, (*[]string)(a))
}

// An instant is a NumericDate: seconds since 1970, perhaps with a fraction.
type instant float64

// lastInstant is the year 9999.
const lastInstant = 253402300799

// UnmarshalJSON implements json.Unmarshaler.
func (i *instant) UnmarshalJSON(source []byte) error {
	if err := json.Unmarshal(source, (*float64)(i)); err != nil {
		return err
	}
	if *i < 0 || *i > lastInstant {
		return errors.New("a time out of range")
	}
	return nil
}

func (i instant) time() time.Time { return time.Unix(int64(math.Floor(float64(i))), 0) }

// readSet reads the keys that are understood: an issuer may have others for
// other purposes.
func readSet(source []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(source, &set); err != nil {
		return nil, errors.New("it is no JWK set: an object with the list `keys`")
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err == nil {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Claimed gives the issuer and subject that a token names, as one text of a
// fixed length, and "" where it names none. Nothing is verified: it is for
// counting, and no user name of HTTP Basic is alike (RFC 7617 section 2: none
// has a colon).
func Claimed(token secret.Text) string {
	if len(token) > maxToken {
		return ""
	}
	_, rest, _ := strings.Cut(string(token), ".")
	encoded, _, ok := strings.Cut(rest, ".")
	payload, err := base64.RawURLEncoding.DecodeString(encoded)
	if !ok || err != nil {
		return ""
	}
	claims, err := readClaims(payload)
	if err != nil || claims.Subject == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(claims.Issuer + "\x00" + claims.Subject))
	return "bearer:" + hex.EncodeToString(sum[:])
}

// Token gives the token of an Authorization header (RFC 6750 section 2.1).
func Token(header string) (secret.Text, bool) {
	scheme, rest, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return secret.Text(strings.TrimLeft(rest, " ")), true
}
