// SPDX-License-Identifier: Apache-2.0

package cfssl

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"

	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream"
)

// The paths of `cfssl serve`.
const (
	prefix     = "/api/v1/cfssl/"
	signPath   = prefix + "authsign"
	infoPath   = prefix + "info"
	revokePath = prefix + "revoke"
	crlPath    = prefix + "crl"
)

// The largest answers that are read.
const (
	maxAnswer = 1 << 20
	maxCRL    = 48 << 20 // base64 in JSON
)

// The types of CFSSL's API, with its names in JSON.
type (
	// authenticated is auth.AuthenticatedRequest.
	authenticated struct {
		Token   []byte `json:"token"`
		Request []byte `json:"request"`
	}
	// signRequest is jsonSignRequest of api/signhandler. Hosts is never null:
	// then CFSSL would take the CSR's.
	signRequest struct {
		Hosts   []string `json:"hosts"`
		Request string   `json:"certificate_request"`
		Subject subject  `json:"subject"`
		Profile string   `json:"profile"`
		Label   string   `json:"label"`
		Serial  *big.Int `json:"serial,omitempty"`
	}
	// subject is signer.Subject.
	subject struct {
		CN           string
		Names        []name `json:"names"`
		SerialNumber string
	}
	// name is csr.Name of CFSSL.
	name struct {
		C, ST, L, O, OU string
	}
	infoRequest struct {
		Label   string `json:"label"`
		Profile string `json:"profile"`
	}
	revokeRequest struct {
		Serial string `json:"serial"`
		AKI    string `json:"authority_key_id"`
		Reason string `json:"reason"`
	}
	// response is api.Response.
	response struct {
		Success bool            `json:"success"`
		Result  json.RawMessage `json:"result"`
		Errors  []message       `json:"errors"`
	}
	message struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
)

// ParseKey reads an HMAC key as CFSSL's `auth_keys` has it: hexadecimal. The
// error doesn't repeat the text.
func ParseKey(text string) (secret.Bytes, error) {
	key, err := hex.DecodeString(strings.TrimSpace(text))
	switch {
	case err != nil:
		return nil, errors.New("the key isn't hexadecimal, as the key in CFSSL's `auth_keys` is")
	case len(key) == 0:
		return nil, errors.New("the key is empty")
	}
	return secret.Bytes(key), nil
}

// sealed authenticates a request, as the provider `standard` of CFSSL does.
func sealed(key secret.Bytes, request []byte) ([]byte, error) {
	return json.Marshal(authenticated{Token: secret.MAC(key, request), Request: request})
}

// call makes one call, and gives the result. The error is *ra.Error.
func (u *Upstream) call(ctx context.Context, c upstream.Call) (json.RawMessage, error) {
	if c.Body != nil {
		c.Type = "application/json"
	}
	answer, err := u.client.Do(ctx, c)
	if err != nil {
		return nil, err
	}
	var r response
	readable := json.Unmarshal(answer.Body, &r) == nil
	switch {
	case !answer.OK() || readable && !r.Success && len(r.Errors) > 0:
		return nil, refused(answer, r, c.Signs, u.cfg.Now())
	case !readable:
		return nil, u.client.Unreadable(c.Signs, "an answer that isn't JSON", nil)
	case !r.Success || len(r.Result) == 0:
		return nil, u.client.Unreadable(c.Signs, "neither a result nor an error", nil)
	}
	return r.Result, nil
}

// ask is call for what isn't about a device's request: a refusal there makes the
// CA count as down.
func (u *Upstream) ask(ctx context.Context, c upstream.Call) (json.RawMessage, error) {
	result, err := u.call(ctx, c)
	return result, upstream.Reading(err)
}

func post(path string, body []byte) upstream.Call {
	return upstream.Call{Method: http.MethodPost, Path: path, Body: body, Limit: maxAnswer}
}

// certificateIn reads the member `certificate` of a result.
func certificateIn(result json.RawMessage) ([]byte, error) {
	var r struct {
		Certificate string `json:"certificate"`
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return nil, errors.New("a result of another kind")
	}
	if r.Certificate == "" {
		return nil, fmt.Errorf("no certificate in it")
	}
	return []byte(r.Certificate), nil
}
