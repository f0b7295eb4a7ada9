// SPDX-License-Identifier: Apache-2.0

// Package webhook asks a service over HTTPS about each request, on the wire as
// step-ca's webhooks are, so that what answers step-ca answers here.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
)

const (
	// DefaultTimeout is that of step-ca.
	DefaultTimeout = 10 * time.Second
	maxAnswer      = 64 << 10
	maxReason      = 512
)

// A Hook asks one service. It implements ra.Hook.
type Hook struct {
	// URL is https, without a user.
	URL string
	// ID goes as X-Smallstep-Webhook-ID.
	ID string
	// Secret is the key of the HMAC in X-Smallstep-Signature: its bytes.
	Secret secret.Text
	// Timeout is for one request; 0: DefaultTimeout.
	Timeout time.Duration
	// TLS has the roots, and a client certificate if there is one; nil: the
	// system's.
	TLS *tls.Config
	// Now is the clock; nil: time.Now.
	Now func() time.Time

	client *http.Client
}

// Check says what is wrong with an address.
func Check(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "":
		return fmt.Errorf("%q is not a URL such as https://hooks.example.net/est", address)
	case u.Scheme != "https":
		return fmt.Errorf("%q is not https", address)
	case u.User != nil:
		return errors.New("a URL with a user or a password in it isn't taken")
	}
	return nil
}

// New makes a Hook ready. It opens no connection.
func New(h Hook) (*Hook, error) {
	if err := Check(h.URL); err != nil {
		return nil, err
	}
	if h.Secret == "" {
		return nil, errors.New("there is no secret")
	}
	if h.Timeout == 0 {
		h.Timeout = DefaultTimeout
	}
	if h.Now == nil {
		h.Now = time.Now
	}
	h.client = &http.Client{
		// No proxy of the environment: who asks whom stands in the configuration.
		Transport: &http.Transport{TLSClientConfig: h.TLS, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute},
		// Another host would get what this one was to judge.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &h, nil
}

// answer is step-ca's ResponseBody.
type answer struct {
	Data  json.RawMessage `json:"data"`
	Allow bool            `json:"allow"`
	Error *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// Consult asks the service once. Anything but a clear answer is an error.
func (h *Hook) Consult(ctx context.Context, req ra.Consulted) (ra.Advice, error) {
	body, err := requestBody(req, h.Now())
	if err != nil {
		return ra.Advice{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, h.Timeout)
	defer cancel()
	raw, err := h.post(ctx, req.ID, body)
	if err != nil {
		return ra.Advice{}, err
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return ra.Advice{}, errors.New("the answer isn't the JSON of a webhook")
	}
	advice := ra.Advice{Allow: a.Allow}
	if !a.Allow {
		advice.Reason = "it said no"
		if a.Error != nil {
			advice.Reason = cut(fmt.Sprintf("%s (%s)", a.Error.Message, a.Error.Code))
		}
		return advice, nil
	}
	if advice.Data, err = policy.ParseFacts(a.Data); err != nil {
		return ra.Advice{}, fmt.Errorf("its data: %w", err)
	}
	return advice, nil
}

func (h *Hook) post(ctx context.Context, id string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-Id", id)
	req.Header.Set("X-Smallstep-Signature", hex.EncodeToString(secret.MAC([]byte(h.Secret), body)))
	req.Header.Set("X-Smallstep-Webhook-ID", h.ID)
	resp, err := h.client.Do(req)
	if ctx.Err() != nil && err != nil {
		return nil, fmt.Errorf("no answer within %s", h.Timeout)
	}
	if err != nil {
		return nil, errors.Unwrap(err) // without the URL, which may hold a token
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("the answer has the status %d", resp.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, errors.New("the answer broke off")
	case len(raw) > maxAnswer:
		return nil, fmt.Errorf("the answer has more than %d bytes", maxAnswer)
	}
	return raw, nil
}

func cut(text string) string {
	if len(text) > maxReason {
		return text[:maxReason] + "…"
	}
	return text
}
