// SPDX-License-Identifier: Apache-2.0

package stepca_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"go.step.sm/crypto/jose"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

func TestTokensAreSignedByTheCredentialOfNow(t *testing.T) {
	first, second := newJWK(t), newJWK(t)
	x5c, err := stepca.ParseX5C(credential(t))
	if err != nil {
		t.Fatal(err)
	}
	now, fails := stepca.Credential{JWK: first}, error(nil)
	signed := make(chan jose.Header, 1)
	up, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		token, err := jose.ParseSigned(sent(t, r).OTT)
		if err != nil {
			t.Error(err)
		} else {
			signed <- token.Headers[0]
		}
		w.WriteHeader(http.StatusForbidden)
	}, func(c *stepca.Config) {
		c.JWK, c.Credential = nil, func() (stepca.Credential, error) { return now, fails }
	})
	for _, key := range []*jose.JSONWebKey{first, first, second} {
		now.JWK = key
		_, err := up.Issue(t.Context(), order(t))
		upstreamtest.Fails(t, err, ra.UpstreamRefused)
		if got := (<-signed).KeyID; got != key.KeyID {
			t.Errorf("the token is of the key %s, want %s", got, key.KeyID)
		}
	}
	now = stepca.Credential{X5C: x5c}
	_, err = up.Issue(t.Context(), order(t))
	upstreamtest.Fails(t, err, ra.UpstreamRefused)
	if got := <-signed; got.KeyID != "" {
		t.Errorf("the token is of the key %s, want one of a certificate", got.KeyID)
	}
	fails = errors.New("it is being written")
	_, err = up.Issue(t.Context(), order(t))
	if e := upstreamtest.Fails(t, err, ra.UpstreamDown); !strings.Contains(e.Text(), "it is being written") {
		t.Error(e.Text())
	}
	_, err = stepca.New(stepca.Config{
		URL: "https://ca.example", Roots: x5c.Chain, Provisioner: "p", JWK: first,
		Credential: func() (stepca.Credential, error) { return now, nil },
	})
	if err == nil || !strings.Contains(err.Error(), "a provisioner has one") {
		t.Errorf("two credentials: %v", err)
	}
}
