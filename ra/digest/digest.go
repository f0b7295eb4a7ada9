// SPDX-License-Identifier: Apache-2.0

// Package digest is the server's side of HTTP Digest authentication (RFC 7616),
// with SHA-256, with MD5 for clients that know nothing else, and with the
// protection quality "auth" alone.
package digest

import (
	"crypto/md5" //nolint:gosec // for old clients, where it is configured
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra/secret"
)

// An Algorithm is a hash function by its name in RFC 7616 section 6.1.
type Algorithm string

// The algorithms.
const (
	SHA256 Algorithm = "SHA-256"
	MD5    Algorithm = "MD5"
)

// hash gives the hash in lower-case hexadecimal, as RFC 7616 section 3.3 has
// it; "" for an algorithm that isn't known.
func (a Algorithm) hash(parts ...string) string {
	text := []byte(strings.Join(parts, ":"))
	switch a {
	case SHA256:
		sum := sha256.Sum256(text)
		return hex.EncodeToString(sum[:])
	case MD5:
		sum := md5.Sum(text) //nolint:gosec // see the import
		return hex.EncodeToString(sum[:])
	}
	return ""
}

// The reasons of Verify.
var (
	ErrNotDigest = errors.New("the credentials are not of the scheme Digest")
	ErrForeign   = errors.New("the answer is for another realm, address, algorithm or quality than was offered")
	ErrStale     = errors.New("the nonce is not one of ours, or its time is over")
	ErrReplayed  = errors.New("the answer was used before")
	ErrWrong     = errors.New("user and password don't fit")
)

// A Server verifies the answers of clients. Safe for concurrent use.
type Server struct {
	realm      string
	algorithms []Algorithm // the preferred one first
	hashes     map[Algorithm]map[string]secret.Text
	decoy      string
	opaque     string
	nonces     *nonces
	now        func() time.Time
}

// Options are what a Server may be given.
type Options struct {
	MD5  bool             // takes MD5 beside SHA-256
	Now  func() time.Time // nil: time.Now
	Rand io.Reader        // nil: crypto/rand
}

// New makes a server of accounts in one realm.
func New(accounts []Account, o Options) (*Server, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if len(accounts) == 0 {
		return nil, errors.New("there is no account")
	}
	s := &Server{realm: accounts[0].Realm, algorithms: []Algorithm{SHA256}, now: o.Now}
	s.hashes = map[Algorithm]map[string]secret.Text{SHA256: {}}
	if o.MD5 {
		s.algorithms, s.hashes[MD5] = append(s.algorithms, MD5), map[string]secret.Text{}
	}
	usable := 0
	for _, a := range accounts {
		if a.Realm != s.realm {
			return nil, fmt.Errorf("the accounts have the realms %q and %q, and a challenge has one", s.realm, a.Realm)
		}
		if of, taken := s.hashes[a.Algorithm]; taken {
			of[a.User] = a.Hash
			usable++
		}
	}
	if usable == 0 {
		return nil, errors.New("all accounts are for MD5, which is off")
	}
	s.algorithms = usedOf(s.algorithms, s.hashes)
	seed := make([]byte, 24)
	if _, err := io.ReadFull(o.Rand, seed); err != nil {
		return nil, err
	}
	s.decoy, s.opaque = hex.EncodeToString(seed[:16]), hex.EncodeToString(seed[16:])
	var err error
	s.nonces, err = newNonces(o.Rand)
	return s, err
}

// usedOf leaves out an algorithm for which nobody has a hash: it would only
// lead clients astray.
func usedOf(algorithms []Algorithm, hashes map[Algorithm]map[string]secret.Text) []Algorithm {
	var used []Algorithm
	for _, a := range algorithms {
		if len(hashes[a]) > 0 {
			used = append(used, a)
		}
	}
	return used
}

// Challenge gives the values of WWW-Authenticate, one for each algorithm, the
// preferred one first, with a new nonce. They have realm, nonce, opaque,
// algorithm and qop and nothing else: old Bouncy Castle knows no others. It
// reads none without quotes either, and algorithm must have none (RFC 7616
// section 3.3): MD5, which is what no algorithm means, isn't named.
func (s *Server) Challenge() []string {
	nonce, err := s.nonces.make(s.now())
	if err != nil {
		return nil // no randomness: no challenge
	}
	values := make([]string, len(s.algorithms))
	for i, a := range s.algorithms {
		named := fmt.Sprintf(", algorithm=%s", a)
		if a == MD5 {
			named = ""
		}
		values[i] = fmt.Sprintf(`Digest realm="%s", nonce="%s", opaque="%s"%s, qop="auth"`, s.realm, nonce, s.opaque, named)
	}
	return values
}

// ClaimedUser gives the user that a header names, and whether it is of the
// scheme Digest. Nothing is verified.
func ClaimedUser(header string) (string, bool) {
	if _, ok := is(header); !ok {
		return "", false
	}
	a, err := parse(header)
	if err != nil {
		return "", true
	}
	return a.user, true
}

// Verify says who has answered a challenge, for a request with this method and
// target. Each answer is good once.
func (s *Server) Verify(method, target, header string) (user string, err error) {
	if _, ok := is(header); !ok {
		return "", ErrNotDigest
	}
	a, err := parse(header)
	if err != nil {
		return "", err
	}
	algorithm := Algorithm(strings.ToUpper(a.algorithm))
	if a.algorithm == "" {
		algorithm = MD5 // RFC 7616 section 3.4
	}
	of, taken := s.hashes[algorithm]
	foreign := a.opaque != nil && *a.opaque != s.opaque // Bouncy Castle never sends it back
	// RFC 7616 section 3.4.6: the address is the request's own.
	if !taken || foreign || a.realm != s.realm || a.uri != target || a.qop != "auth" {
		return "", ErrForeign
	}
	count, err := strconv.ParseUint(a.nc, 16, 32)
	if err != nil || len(a.nc) != 8 || count == 0 {
		return "", errSyntax
	}
	now := s.now()
	made, good := s.nonces.madeAt(a.nonce, now)
	if !good {
		return "", ErrStale
	}
	// An unknown user is compared as a known one is, and time tells nothing.
	secretHash, known := of[a.user]
	ha1 := string(secretHash)
	if !known {
		ha1 = s.decoy
	}
	want := a.expected(algorithm, ha1, method)
	same := subtle.ConstantTimeCompare([]byte(strings.ToLower(a.response)), []byte(want)) == 1
	if !same || !known {
		return "", ErrWrong
	}
	if !s.nonces.use(a.nonce, uint32(count), made, now) {
		return "", ErrReplayed
	}
	return a.user, nil
}

// expected is the response that the password gives (RFC 7616 section 3.4.1).
func (a answer) expected(algorithm Algorithm, ha1, method string) string {
	return algorithm.hash(ha1, a.nonce, a.nc, a.cnonce, a.qop, algorithm.hash(method, a.uri))
}
