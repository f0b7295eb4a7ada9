// SPDX-License-Identifier: Apache-2.0

package module

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
)

// basicMethod is how an account of `basic` is called in audit records.
const basicMethod = "http_basic"

// A namedProvider is a module of others, ready to be asked.
type namedProvider struct {
	name string
	auth caddyauth.Authenticator
}

// basicAccounts verifies HTTP Basic passwords. It keeps no cache of verified
// passwords: each one is hashed anew.
type basicAccounts struct {
	hashes map[string]hashed
	// decoy is compared with when the user is unknown, so that an answer
	// takes as long.
	decoy hashed
}

type hashed struct {
	comparer caddyauth.Comparer
	hash     []byte
}

func (h *Handler) loadCredentials() error {
	if len(h.Basic) > 0 {
		h.basic = &basicAccounts{hashes: make(map[string]hashed, len(h.Basic))}
	}
	repl := caddy.NewReplacer()
	for _, a := range h.Basic {
		if _, twice := h.basic.hashes[a.Username]; twice {
			return fmt.Errorf("basic: the user %q is written twice", a.Username)
		}
		hash, err := repl.ReplaceOrErr(a.Hash, true, true)
		if err != nil {
			return fmt.Errorf("basic: the hash of user %q: %w", a.Username, err)
		}
		made, err := newHashed(hash)
		if err != nil {
			return fmt.Errorf("basic: user %q: %w", a.Username, err)
		}
		h.basic.hashes[a.Username] = made
		h.basic.decoy = hashed{made.comparer, made.comparer.(caddyauth.Hasher).FakeHash()}
	}
	for i := range h.Providers {
		p := &h.Providers[i]
		if p.Name == basicMethod {
			return fmt.Errorf("provider: the name %q is taken by `basic`", p.Name)
		}
		mod, err := h.ctx.LoadModule(p, "ProviderRaw")
		if err != nil {
			return fmt.Errorf("provider %s: %w", p.Name, err)
		}
		auth, ok := mod.(caddyauth.Authenticator)
		if !ok {
			return fmt.Errorf("provider %s: the module isn't an HTTP authenticator: %T", p.Name, mod)
		}
		h.providers = append(h.providers, namedProvider{p.Name, auth})
	}
	return nil
}

// newHashed finds the algorithm of a hash by its prefix. The message never
// repeats the hash.
func newHashed(hash string) (hashed, error) {
	switch {
	case strings.HasPrefix(hash, "$argon2id$"):
		return tryHash(&caddyauth.Argon2idHash{}, hash)
	case strings.HasPrefix(hash, "$2a$"), strings.HasPrefix(hash, "$2b$"), strings.HasPrefix(hash, "$2y$"):
		return tryHash(&caddyauth.BcryptHash{}, hash)
	default:
		return hashed{}, fmt.Errorf("this is not a password hash of `caddy hash-password` (it begins with $2a$ or $argon2id$); a password itself is never written here")
	}
}

func tryHash(comparer caddyauth.Comparer, hash string) (hashed, error) {
	if _, err := comparer.Compare([]byte(hash), []byte("probe")); err != nil {
		return hashed{}, fmt.Errorf("the password hash can't be read: %w", err)
	}
	return hashed{comparer, []byte(hash)}, nil
}

// verify says whether the password is the user's. An unknown user costs as
// much time as a known one.
func (b *basicAccounts) verify(user, password string) (bool, error) {
	account, known := b.hashes[user]
	if !known {
		account = b.decoy
	}
	same, err := account.comparer.Compare(account.hash, []byte(password))
	if err != nil {
		return false, err
	}
	return same && known, nil
}

// challenge is what a 401 offers.
func (h *Handler) challenge() []string {
	if h.basic != nil || len(h.providers) > 0 {
		return []string{`Basic realm="estra"`}
	}
	return nil
}

// credentials verifies what the Authorization header holds. No header, no
// identity; what is wrong or empty counts as a failed attempt.
func (h *Handler) credentials(w http.ResponseWriter, r *http.Request) ([]policy.Account, string, bool, error) {
	user, password, isBasic := r.BasicAuth()
	if r.Header.Get("Authorization") == "" {
		return nil, "", false, nil
	}
	var accounts []policy.Account
	if isBasic && h.basic != nil {
		ok, err := h.basic.verify(user, password)
		if err != nil {
			return nil, user, true, fmt.Errorf("verifying a Basic password: %w", err)
		}
		if ok {
			accounts = append(accounts, policy.Account{Method: basicMethod, User: user})
		}
	}
	if len(accounts) > 0 {
		return accounts, user, true, nil
	}
	for _, p := range h.providers {
		found, ok, err := p.auth.Authenticate(w, r)
		if err != nil {
			h.log.Error("authentication provider failed", zap.String("provider", p.name), zap.Error(err))
			continue
		}
		if ok {
			accounts = append(accounts, policy.Account{Method: p.name, User: found.ID})
			break
		}
	}
	return accounts, user, true, nil
}
