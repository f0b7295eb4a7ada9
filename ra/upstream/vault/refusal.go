// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream"
)

var errEmpty = errors.New("it is empty")

// celRefuses begins what our CEL role says when it refuses. OpenBao answers 500
// then.
const celRefuses = "estra refuses: "

// refused maps an answer that isn't a success. 400 is about the request: the
// role, or the CSR; so is a 403 that says more than that permission is denied.
// All else is between the server and us: a token that isn't accepted, a mount
// that isn't there, a server that is sealed (503), in standby (472, 473, and
// 429 without a quota) or doesn't speak for itself.
func refused(answer upstream.Answer, now time.Time, secrets ...secret.Text) *ra.Error {
	text := words(answer, secrets...)
	said := fmt.Sprintf("Vault answered %d: %s", answer.Status, upstream.Line(text))
	again := func(e *ra.Error) *ra.Error { return upstream.Retry(e, answer.Header, now) }
	switch answer.Status {
	case http.StatusForbidden:
		if refusesToken(answer) {
			return again(ra.Fail(ra.UpstreamDown, said, ra.ErrCredential))
		}
		return ra.Fail(ra.UpstreamRefused, said, nil)
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return ra.Fail(ra.UpstreamRefused, said, nil)
	case http.StatusUnauthorized:
		return again(ra.Fail(ra.UpstreamDown, said, ra.ErrCredential))
	case http.StatusTooManyRequests:
		if strings.Contains(text, "quota") {
			return again(ra.Fail(ra.Busy, said, nil))
		}
	case http.StatusInternalServerError:
		if strings.Contains(text, celRefuses) {
			return ra.Fail(ra.UpstreamRefused, said, nil)
		}
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return ra.Fail(ra.UpstreamTimeout, said, nil)
	}
	return again(ra.Fail(ra.UpstreamDown, said, nil))
}

// tokenWords are all that Vault says where a token isn't good, or not good for
// the path: it doesn't tell which.
var tokenWords = []string{"permission denied", "invalid token", "bad token", "missing client token", "token expired", "namespace not authorized"}

// refusesToken says that a refusal is about our token and nothing else.
func refusesToken(answer upstream.Answer) bool {
	if answer.Status != http.StatusForbidden {
		return false
	}
	list := reasons(answer.Body)
	return len(list) > 0 && !slices.ContainsFunc(list, func(one string) bool { return !slices.Contains(tokenWords, one) })
}

// reasons are the errors that an answer lists, each in one line. Vault puts
// several into one text, as a list with stars.
func reasons(body []byte) []string {
	var message struct {
		Errors []string `json:"errors"`
	}
	if json.Unmarshal(body, &message) != nil {
		return nil
	}
	var list []string
	for _, text := range message.Errors {
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			counts := strings.HasSuffix(line, " occurred:") && len(line) < 24 // "2 errors occurred:"
			if line = strings.TrimPrefix(line, "* "); line != "" && !counts {
				list = append(list, line)
			}
		}
	}
	return list
}

// words are the server's own, without our secrets.
func words(answer upstream.Answer, secrets ...secret.Text) string {
	if location := answer.Header.Get("Location"); answer.Status >= 300 && answer.Status < 400 {
		return "it sends us to " + location + ", and a token is not carried elsewhere"
	}
	const most = 2 * upstream.MaxText
	text := strings.Join(reasons(answer.Body), "; ")
	if text == "" {
		text = string(answer.Body[:min(len(answer.Body), most)])
	}
	for _, s := range secrets {
		if len(s) >= 8 { // as all real ones are
			text = strings.ReplaceAll(text, string(s), "[…]")
		}
	}
	return text
}
