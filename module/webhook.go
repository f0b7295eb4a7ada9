// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/webhook"
)

// A WebhookConfig is a service that is asked about each request.
type WebhookConfig struct {
	// Its address, https.
	URL string `json:"url"`
	// The key that signs what it is told: base64, as step-ca prints it. Best a
	// placeholder such as {env.X}.
	Secret string `json:"secret"`
	// Sent as X-Smallstep-Webhook-ID.
	ID string `json:"id,omitempty"`
	// How long an answer may take. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// PEM files with the roots of its certificate. Default: the system's.
	Roots []string `json:"roots,omitempty"`
	// PEM files with our client certificate and its key.
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
}

// leastSecret is the shortest key of a webhook, in bytes.
const leastSecret = 16

// webhookSecret reads the key of an HMAC. The message doesn't repeat what was
// written.
func webhookSecret(text string) (secret.Text, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) < leastSecret {
		return "", fmt.Errorf("the secret is not base64 of at least %d bytes; `openssl rand -base64 32` makes one", leastSecret)
	}
	return secret.Text(key), nil
}

// loadWebhook makes the hook; nil where none is configured.
func (h *Handler) loadWebhook() (ra.Hook, error) {
	c := h.Webhook
	if c == nil {
		return nil, nil
	}
	hook, err := c.load()
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return hook, nil
}

func (c *WebhookConfig) load() (*webhook.Hook, error) {
	address, err := expand("the URL", c.URL)
	if err != nil {
		return nil, err
	}
	text, err := expand("secret", c.Secret)
	if err != nil {
		return nil, err
	}
	key, err := webhookSecret(text)
	if err != nil {
		return nil, err
	}
	if c.Timeout < 0 {
		return nil, errors.New("the timeout is below zero")
	}
	conf, err := c.tls()
	if err != nil {
		return nil, err
	}
	return webhook.New(webhook.Hook{URL: address, ID: c.ID, Secret: key, Timeout: time.Duration(c.Timeout), TLS: conf})
}

func (c *WebhookConfig) tls() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	var files []string
	for _, name := range append([]string{c.Certificate, c.Key}, c.Roots...) {
		if name != "" {
			var err error
			if name, err = expand("a file", name); err != nil {
				return nil, err
			}
		}
		files = append(files, name)
	}
	if roots := files[2:]; len(roots) > 0 {
		certs, err := loadCertificates(roots)
		if err != nil {
			return nil, fmt.Errorf("root: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		for _, cert := range certs {
			conf.RootCAs.AddCert(cert)
		}
	}
	if c.Certificate != "" || c.Key != "" {
		pair, err := tls.LoadX509KeyPair(files[0], files[1])
		if err != nil {
			return nil, fmt.Errorf("certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	return conf, nil
}
