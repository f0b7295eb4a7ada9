// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/digest"
)

// digestMethod is how an account of `digest` is called in audit records.
const digestMethod = "digest"

// A DigestConfig is where the accounts of HTTP Digest are.
type DigestConfig struct {
	// The file with the accounts, as `caddy est digest` makes it.
	File string `json:"file"`
	// Take MD5 beside SHA-256, for clients that know nothing else.
	MD5 bool `json:"md5,omitempty"`
}

func (c *DigestConfig) accounts() ([]digest.Account, error) {
	src, err := os.ReadFile(c.File)
	if err != nil {
		return nil, err
	}
	return digest.Parse(c.File, src)
}

// users are those that can log in. A file that isn't here says nothing.
func (c *DigestConfig) users() (policy.Digest, error) {
	known := policy.Digest{MD5: c.MD5}
	accounts, err := c.accounts()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		known.Unread = true
		return known, nil
	}
	for _, a := range accounts {
		if c.MD5 || a.Algorithm != digest.MD5 {
			known.Users = append(known.Users, a.User)
		}
	}
	return known, err
}

func (h *Handler) loadDigest() error {
	if h.Digest == nil {
		return nil
	}
	accounts, err := h.Digest.accounts()
	if err != nil {
		return fmt.Errorf("digest: %w", err)
	}
	h.digest, err = digest.New(accounts, digest.Options{MD5: h.Digest.MD5})
	if err != nil {
		return fmt.Errorf("digest: %s: %w", h.Digest.File, err)
	}
	return nil
}

// checkDigest says whose answer a request has; "" for nobody's.
func (h *Handler) checkDigest(r *http.Request) string {
	headers := r.Header.Values("Authorization")
	if h.digest == nil || len(headers) != 1 {
		return ""
	}
	target := r.RequestURI
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.RequestURI != "" {
		target = original.RequestURI // as the client has it, before any rewrite
	}
	user, err := h.digest.Verify(r.Method, target, headers[0])
	if err != nil {
		return "" // why is for nobody: an answer tells no more than a password does
	}
	return user
}
