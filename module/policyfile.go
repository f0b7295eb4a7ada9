// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
)

func (h *Handler) loadPolicy() (err error) {
	if h.Policy == "" {
		return errors.New("no policy: write `policy FILE`; without one nothing may be issued")
	}
	if h.policy, err = loadPolicy("policy", h.Policy); err != nil || h.Shadow == "" {
		return err
	}
	h.shadow, err = loadPolicy("policy shadow", h.Shadow)
	return err
}

// loadPolicy compiles a policy file. option is for messages.
func loadPolicy(option, name string) (*policy.Policy, error) {
	src, err := ReadPolicy(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", option, err)
	}
	file, err := policy.Parse(name, src)
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", option, err)
	}
	compiled, err := policy.Compile(file, policyFiles(name))
	if err != nil {
		return nil, fmt.Errorf("%s:\n%w", option, err)
	}
	return compiled, nil
}

// ReadPolicy reads a policy file, or one of its tests. Of a file that is too
// large to be one it reads just so much that policy.Parse says so.
func ReadPolicy(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	return io.ReadAll(io.LimitReader(file, policy.MaxFile+1))
}

// policyFiles are the files that a policy may name: those beside it.
func policyFiles(name string) fs.FS { return os.DirFS(filepath.Dir(name)) }

// logPolicy says what an operator should know when the server starts.
func (h *Handler) logPolicy() {
	h.log.Info("policy loaded", zap.String("file", h.Policy), zap.String("name", h.policy.Name()),
		zap.String("sha256", h.policy.SHA256()))
	if h.shadow != nil {
		h.log.Info("shadow policy loaded: it is decided beside the one in force, and has no part in answers",
			zap.String("file", h.Shadow), zap.String("name", h.shadow.Name()), zap.String("sha256", h.shadow.SHA256()))
	}
	for _, list := range h.policy.ListFiles() {
		h.log.Info("list of keys loaded", zap.String("file", list.Name), zap.Int("keys", list.Keys), zap.String("sha256", list.SHA256))
	}
	for _, w := range h.policy.Warnings() {
		h.log.Warn("policy: "+w.Message, zap.String("line", w.Pos.String()), zap.String("path", w.Path))
	}
	byCMC := func(p *policy.Profile) bool { return p.Offers(policy.FullCMC) }
	if own, _ := h.ownConfig(); own == nil && slices.ContainsFunc(h.policy.Profiles(), byCMC) {
		// RFC 7030 section 4.3.2 wants a CMC message in every refusal.
		h.log.Warn("the policy has `fullcmc`, and this site has no certificate of its own that could sign a Full PKI Response: " +
			"only Simple PKI Responses can be given, and refusals are texts")
	}
}
