// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/certless"
	"github.com/caddy-est/estra/ra/est"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/store"
)

// basicMethod is how an account of `basic` is called in audit records.
const basicMethod = "http_basic"

// onceMethod is a one-time password, which comes over HTTP Basic, too.
const onceMethod = "one_time_password"

// ownMethods are the words of our own proofs, with their options: a provider
// of such a name would prove what it doesn't.
var ownMethods = map[string]string{basicMethod: "basic", digestMethod: "digest", onceMethod: "one_time_password", policy.SRPMethod: "est_srp"}

// A namedProvider is a module of others, ready to be asked.
type namedProvider struct {
	name    string
	headers []string
	auth    caddyauth.Authenticator
}

// basicAccounts verifies HTTP Basic passwords. It keeps no cache of verified
// passwords: each one is hashed anew.
type basicAccounts struct {
	hashes map[string]hashed
	// decoys are the same hashes in their order. An unknown user is compared
	// with one of them, and always with the same: where they differ in cost,
	// unknown users do as known ones, and an answer's time tells nothing. One
	// cost for all of the unknown would tell the cheaper accounts.
	decoys []hashed
	// seed chooses among them. It is made of the hashes: secret, and after a
	// restart the same.
	seed []byte
}

type hashed struct {
	comparer caddyauth.Comparer
	hash     []byte
}

func (h *Handler) loadCredentials() error {
	if err := errors.Join(h.loadDigest(), h.loadBearers()); err != nil {
		return err
	}
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
		h.basic.decoys = append(h.basic.decoys, made)
		seed := sha256.Sum256(slices.Concat(h.basic.seed, made.hash))
		h.basic.seed = seed[:]
	}
	for i := range h.Providers {
		p := &h.Providers[i]
		if option, taken := ownMethods[p.Name]; taken {
			return fmt.Errorf("provider: the name %q is taken by `%s`", p.Name, option)
		}
		if strings.HasPrefix(p.Name, policy.BearerMethod("")) {
			return fmt.Errorf("provider: the name %q is taken by `bearer`", p.Name)
		}
		mod, err := h.ctx.LoadModule(p, "ProviderRaw")
		if err != nil {
			return fmt.Errorf("provider %s: %w", p.Name, err)
		}
		auth, ok := mod.(caddyauth.Authenticator)
		if !ok {
			return fmt.Errorf("provider %s: the module isn't an HTTP authenticator: %T", p.Name, mod)
		}
		headers, err := p.headers()
		if err != nil {
			return fmt.Errorf("provider %s: %w", p.Name, err)
		}
		h.providers = append(h.providers, namedProvider{p.Name, headers, auth})
	}
	return nil
}

// headers are those of the option, in the form of net/http.
func (p *Provider) headers() ([]string, error) {
	var names []string
	for _, name := range p.Headers {
		canonical := http.CanonicalHeaderKey(name)
		if !httpguts.ValidHeaderFieldName(name) || canonical == est.HeaderAuthorization {
			return nil, fmt.Errorf("header %q is no name of a header beside Authorization", name)
		}
		names = append(names, canonical)
	}
	return names, nil
}

// minDigest of argon2id is in bytes; `caddy hash-password` makes 32.
const minDigest = 16

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

// tryHash makes one comparison. A hash that was cut off may panic in it, and a
// shorter digest fits many passwords.
func tryHash(comparer caddyauth.Comparer, hash string) (_ hashed, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("the password hash can't be read: %v", v)
		}
	}()
	if _, isArgon := comparer.(*caddyauth.Argon2idHash); isArgon {
		if _, digest, err := caddyauth.DecodeHash([]byte(hash)); err == nil && len(digest) < minDigest {
			return hashed{}, fmt.Errorf("the password hash has a digest of %d bytes, and needs %d: was it cut off?", len(digest), minDigest)
		}
	}
	if _, err := comparer.Compare([]byte(hash), []byte("probe")); err != nil {
		return hashed{}, fmt.Errorf("the password hash can't be read: %w", err)
	}
	return hashed{comparer, []byte(hash)}, nil
}

// verify says whether the password is the user's. An unknown user costs as
// much time as a known one.
func (b *basicAccounts) verify(user, password string) (bool, error) {
	account := b.decoy(user)
	known, ok := b.hashes[user]
	if ok {
		account = known
	}
	same, err := account.comparer.Compare(account.hash, []byte(password))
	if err != nil {
		return false, err
	}
	return same && ok, nil
}

// decoy is what an unknown user is compared with.
func (b *basicAccounts) decoy(user string) hashed {
	mac := hmac.New(sha256.New, b.seed)
	mac.Write([]byte(user))
	return b.decoys[binary.BigEndian.Uint64(mac.Sum(nil))%uint64(len(b.decoys))]
}

// challenge is what a 401 offers for the methods that could help, the
// strongest first. Providers bring their own.
func (h *Handler) challenge(r *http.Request, methods []string) (all []string) {
	if slices.ContainsFunc(h.bearers, func(b *tokenIssuer) bool { return slices.Contains(methods, policy.BearerMethod(b.name)) }) {
		all = append(all, bearerChallenge(r))
	}
	if h.digest != nil && slices.Contains(methods, digestMethod) {
		all = append(all, h.digest.Challenge()...)
	}
	if h.basic != nil && slices.Contains(methods, basicMethod) || slices.Contains(methods, onceMethod) {
		all = append(all, `Basic realm="estra"`)
	}
	return all
}

// incoming is a request with what we know of it. Providers are asked about
// those without an Authorization header too: they may read another, and have
// their own challenge.
func (h *Handler) incoming(r *http.Request) est.Incoming {
	in := est.Incoming{
		Remote: clientAddress(r), TLSAhead: tlsAhead(r), Certless: certless.SessionOf(r.Context()),
		Credentials: h.credentials, AnyHeader: len(h.providers) > 0,
	}
	for _, p := range h.providers {
		in.Headers = append(in.Headers, p.headers...)
	}
	return in
}

// credentials asks `basic`, `digest`, `bearer`, then the providers, who a request is from. Each has
// its say: a line of the policy may want two accounts (`all`).
func (h *Handler) credentials(w http.ResponseWriter, r *http.Request) (found est.Proven, _ error) {
	if user, password, ok := r.BasicAuth(); ok && h.basic != nil && !store.IsToken(secret.Text(password)) {
		same, err := h.basic.verify(user, password)
		if err != nil {
			return est.Proven{}, fmt.Errorf("verifying a Basic password: %w", err)
		}
		if same {
			found.Accounts = append(found.Accounts, policy.Account{Method: basicMethod, User: user})
		}
	}
	if user := h.checkDigest(r); user != "" {
		found.Accounts = append(found.Accounts, policy.Account{Method: digestMethod, User: user})
	}
	tokens, claims := h.checkToken(r)
	found.Accounts, found.Claims = append(found.Accounts, tokens...), claims
	h.askProviders(w, r, &found)
	return found, nil
}

// askProviders says, too, which headers proved nobody. A provider that finds
// somebody, and has no header of its own in the request, may have read
// Authorization: nobody but it could tell.
func (h *Handler) askProviders(w http.ResponseWriter, r *http.Request, found *est.Proven) {
	claimed := len(found.Accounts) > 0 || len(r.Header.Values(est.HeaderAuthorization)) == 0
	for _, p := range h.providers {
		headers := slices.DeleteFunc(slices.Clone(p.headers), func(name string) bool { return len(r.Header.Values(name)) == 0 })
		user, ok, err := p.auth.Authenticate(w, r)
		switch {
		case err != nil: // it is broken, which is no guess of the client's
			h.log.Error("authentication provider failed", zap.String("provider", p.name), zap.Error(err))
		case !ok:
			found.Failed = append(found.Failed, headers...)
		default:
			found.Accounts = append(found.Accounts, policy.Account{Method: p.name, User: user.ID})
			claimed = claimed || len(headers) == 0
		}
	}
	if !claimed {
		found.Failed = append(found.Failed, est.HeaderAuthorization)
	}
}
