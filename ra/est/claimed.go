// SPDX-License-Identifier: Apache-2.0

package est

import (
	"net/http"
	"slices"

	"github.com/caddy-est/estra/ra/bearer"
	"github.com/caddy-est/estra/ra/digest"
)

// HeaderAuthorization brings the credentials of RFC 9110 section 11.6.2.
const HeaderAuthorization = "Authorization"

// presented says whether a request brings a credential, as far as that can be
// told. An empty header, too, is one: a provider may read the next.
func (x *exchange) presented() bool {
	return anyOf(x.r, []string{HeaderAuthorization}) || anyOf(x.r, x.in.Headers)
}

func anyOf(r *http.Request, headers []string) bool {
	return slices.ContainsFunc(headers, func(h string) bool { return len(r.Header.Values(h)) > 0 })
}

// claimedUser is whom a request says that it is from: the user of Basic and
// Digest, issuer and subject of a token. Failed attempts are counted for each,
// beside the address. Nothing of it is proven, and that is no matter: it is
// counted together with the address, so a stranger who names somebody slows
// down himself. What names nobody is counted as one user.
func claimedUser(r *http.Request) string {
	if user, _, ok := r.BasicAuth(); ok {
		return user
	}
	header := r.Header.Get(HeaderAuthorization)
	if user, ok := digest.ClaimedUser(header); ok {
		return user
	}
	if token, ok := bearer.Token(header); ok {
		return bearer.Claimed(token)
	}
	return ""
}

// outcomeOf says what became of an attempt by the headers that proved nobody.
// once: a one-time password has, which is in Authorization.
func outcomeOf(proven, once bool, headers []string) outcome {
	own := slices.Contains(headers, HeaderAuthorization) && !once
	others := slices.ContainsFunc(headers, func(h string) bool { return h != HeaderAuthorization })
	switch {
	case !proven || own:
		return failed
	case others:
		return failedBeside
	}
	return succeeded
}
