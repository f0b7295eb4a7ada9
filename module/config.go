// SPDX-License-Identifier: Apache-2.0

package module

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// A NamedUpstream is one entry of `upstream`.
type NamedUpstream struct {
	// The name that the policy, `anchors` and the audit record use.
	Name string `json:"name"`
	// The module that speaks to the CA.
	UpstreamRaw json.RawMessage `json:"upstream" caddy:"namespace=est.upstreams inline_key=module"`
}

// An AnchorConfig is one entry of `anchors`: certificates under which client
// certificates may verify. An anchor authenticates; only a policy's `who`
// lines authorize.
type AnchorConfig struct {
	// The name that the policy uses.
	Name string `json:"name"`
	// PEM files with the trust anchors, and intermediates if any, read again
	// when they change. While one is missing or wrong, the anchor vouches for
	// nobody.
	Files []string `json:"files,omitempty"`
	// The name of an upstream, instead of files: certificates that one of
	// its issuing keys has signed. Its root alone is not enough.
	Upstream string `json:"upstream,omitempty"`
	// Files and http(s) addresses of CRLs, DER or PEM, which are read again.
	CRL []string `json:"crl,omitempty"`
	// The http(s) address of an OCSP responder.
	OCSP string `json:"ocsp,omitempty"`
	// What the answers of `crl` and `ocsp` are worth: "require", the default,
	// takes a certificate only when all who are asked say that it is good;
	// "prefer" also when nobody says that it is revoked; "off" asks nobody.
	Revocation string `json:"revocation,omitempty"`
	// Accept certificates whose extended key usages lack clientAuth.
	AnyEKU bool `json:"any_eku,omitempty"`
	// Certificates for id-kp-cmcRA that this anchor's own keys signed are those
	// of registration authorities, for every profile (`role: ra` in the policy).
	// The anchor then vouches for what its certificates' own keys signed, and
	// for nothing below another CA. Without it only the issuing keys of a
	// profile's upstream make its RAs (RFC 7030 section 3.7).
	RAIssuer bool `json:"ra_issuer,omitempty"`
}

// An Account is one user of HTTP Basic.
type Account struct {
	// The user name, as the policy's `users` has it.
	Username string `json:"username"`
	// The password's hash: bcrypt ($2…) or argon2id ($argon2id$…), as
	// `caddy hash-password` prints it. Placeholders such as {env.X} are
	// replaced.
	Hash string `json:"hash"`
}

// A Provider is an HTTP authentication module of others.
type Provider struct {
	// The name that the policy uses.
	Name string `json:"name"`
	// The headers, beside Authorization, that it reads a credential from. A
	// request that has one of them, and isn't known by it, is a failed attempt.
	Headers []string `json:"headers,omitempty"`
	// The module, from Caddy's namespace http.authentication.providers.
	ProviderRaw json.RawMessage `json:"provider" caddy:"namespace=http.authentication.providers inline_key=module"`
}

// A StoreConfig is the option `store`.
type StoreConfig struct {
	// The engine: sqlite or postgres.
	Engine string `json:"engine"`
	// The file of sqlite, which is made where it isn't there. No other process
	// may have it open.
	File string `json:"file,omitempty"`
	// The connection string of postgres: postgres://USER@HOST/DATABASE, or
	// words as libpq has them (host=HOST dbname=DATABASE). A password must not
	// stand in it in clear: placeholders such as {env.EST_DB} are replaced, and
	// what is missing comes from PGPASSFILE and the other variables of libpq.
	DSN string `json:"dsn,omitempty"`
}

// A Registry is a list of devices in the store, which `caddy est device` fills.
type Registry struct {
	// The name that the policy and the commands use.
	Name string `json:"name"`
}

// Quirks are answers that depend on the client.
type Quirks struct {
	// User agents that get wrapped base64, as libest always does.
	Wrapped []string `json:"wrapped,omitempty"`
	// User agents that get base64 on one line, also where libest is in
	// their name.
	Unwrapped []string `json:"unwrapped,omitempty"`
	// Leave out Content-Transfer-Encoding, which RFC 8951 deprecates and
	// old clients need.
	NoTransferEncoding bool `json:"no_transfer_encoding,omitempty"`
	// Send the smime-type parameter with /cacerts.
	CACertsSMIMEType bool `json:"cacerts_smime_type,omitempty"`
}

// Limits bound what a client can make us do.
type Limits struct {
	// The largest request body, in bytes. Default: 64 KiB.
	Body int64 `json:"body,omitempty"`
	// How many enrolments may run at once, counted once their clients are
	// authenticated and their requests were read, and how many requests for
	// /cacerts and /csrattrs beside them. Eight times as many wait, for five
	// seconds. Default: twice the connections that the upstreams may have, and 32
	// at least.
	Concurrency int `json:"concurrency,omitempty"`
	// Failed attempts to log in, for each address and user; ten times as
	// many for an address over all users. Default: 10.
	Attempts int `json:"attempts,omitempty"`
	// The time in which they count. Default: 1m.
	AttemptsPer caddy.Duration `json:"attempts_per,omitempty"`
	// How long a device may repeat a request with the one-time password, or
	// the first enrolment, that it has used up: its answer may have been lost.
	// Default: 24h.
	RetryWindow caddy.Duration `json:"retry_window,omitempty"`
	// How long a request waits for somebody's approval, and how long its
	// certificate can be fetched once it is approved. Default: 7d.
	PendingExpiry caddy.Duration `json:"pending_expiry,omitempty"`
	// How often a CA that decides later is asked in the background at most, for
	// each request; it may say that it wants to be asked later. Default: 1m.
	PendingPoll caddy.Duration `json:"pending_poll,omitempty"`
}

// defaults fills in what isn't written. A bound below zero is a mistake.
func (l Limits) defaults() (Limits, error) {
	if l.Body < 0 || l.Concurrency < 0 || l.Attempts < 0 || l.AttemptsPer < 0 || l.RetryWindow < 0 || l.PendingExpiry < 0 || l.PendingPoll < 0 {
		return l, errors.New("limits: no bound is below zero")
	}
	if l.Attempts == 0 {
		l.Attempts = 10
	}
	if l.AttemptsPer == 0 {
		l.AttemptsPer = caddy.Duration(time.Minute)
	}
	return l, nil
}

// ParseRate reads how often something may happen, such as "10/m".
func ParseRate(text string) (int, time.Duration, error) {
	count, unit, ok := strings.Cut(text, "/")
	per, known := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, err := strconv.Atoi(count)
	if !ok || !known || err != nil || n < 1 {
		return 0, 0, strconv.ErrSyntax
	}
	return n, per, nil
}

// expand replaces placeholders such as {env.CREDENTIALS_DIRECTORY} in the
// value of an option. One that is unknown or empty is an error, which names
// the option as what.
func expand(what, value string) (string, error) {
	out, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return out, nil
}

// expandEach replaces the placeholders of an option with several values in
// place.
func expandEach(what string, values []string) (err error) {
	for i := range values {
		if values[i], err = expand(what, values[i]); err != nil {
			return err
		}
	}
	return nil
}

// An expandable is an option whose value may have placeholders.
type expandable struct {
	name  string
	value *string
}

// expandAll replaces the placeholders of several options in place.
func expandAll(options ...expandable) error {
	for _, o := range options {
		value, err := expand(o.name, *o.value)
		if err != nil {
			return err
		}
		*o.value = value
	}
	return nil
}
