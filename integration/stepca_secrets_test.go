// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
	"github.com/caddy-est/estra/ra/wire"
)

const forgedLink = "forged-linking-value-4711"

// Everything that Caddy and step-ca print of a whole life, with every kind of
// failure in it: Caddy at debug level, with access log and audit records.
func TestThreat_StepCAsSecretsStayOutOfEveryOutput(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{CRL: true, MaxDuration: 24 * time.Hour})
	c := jwkSite(ca, "crl")
	_, profile, _ := strings.Cut(threeUsers, "profiles:\n")
	c.policy = strings.Replace(threeUsers, "30d", "1d", 1) + strings.ReplaceAll(profile, "devices", "long")
	c.extra = "debug"
	c.site = strings.Replace(c.site, "tls internal", "tls internal\n\tlog", 1)
	s := serve(t, c)
	plain := plainSite(t, ca)
	plain.extra = "debug"
	unplanned := serve(t, plain)

	secrets := map[string]string{
		"forged challengePassword": forgedLink,
		"Basic password":           password,
		"Basic header":             base64.StdEncoding.EncodeToString([]byte(user + ":" + password)),
		"key of est-ra":            private(t, ca.JWKJSON()),
		"key of est-ra-plain":      private(t, []byte(plain.files["est-ra.key"])),
	}
	for _, version := range tlsVersions {
		secrets["linking value over "+tls.VersionName(version)] = linkedLife(t, s, version, ca)
	}
	failures(t, s, unplanned, ca)
	tokens := issuedTokens(t, ca)
	for i, token := range tokens {
		secrets[fmt.Sprintf("token %d", i+1)] = token
	}

	caddy := s.log.String() + unplanned.log.String()
	if !strings.Contains(caddy, `"level":"debug"`) || !strings.Contains(caddy, "http.log.access") || !strings.Contains(caddy, `"conforms":false`) {
		t.Error("the log has no debug lines, no access log, or no record of the withheld certificate")
	}
	for name, secret := range secrets {
		leaks(t, "Caddy", caddy, name, secret)
		if !strings.HasPrefix(name, "token ") { // step-ca itself logs those that it has used up
			leaks(t, "step-ca", ca.Written(), name, secret)
		}
	}
	if found := regexp.MustCompile(`eyJ[\w-]{8,}\.eyJ`).FindString(caddy); found != "" {
		t.Errorf("Caddy printed a token: %s…", found)
	}
}

// linkedLife enrols and renews, and gives the linking value of the enrolment.
func linkedLife(t *testing.T, s *site, version uint16, ca *stepcatest.CA) string {
	t.Helper()
	c := s.estClient(version)
	key := newKey(t)
	done, err := c.Enroll(t.Context(), key, namesOf(t, "a.example.net"))
	if err != nil {
		t.Fatal(err)
	}
	c.Basic = nil
	again, err := c.Reenroll(t.Context(), pairOf(done, key), newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	up, err := stepca.New(ca.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := up.Revoke(t.Context(), again.Certificate, 1); err != nil {
		t.Fatal(err)
	}
	request, err := csr.Parse(done.CSR)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range request.Attributes {
		if a.Type.String() == "1.2.840.113549.1.9.7" { // challengePassword, RFC 2985 section 5.4.1
			return string(a.Values[0][2:])
		}
	}
	t.Fatal("the request was not linked")
	return ""
}

// failures are a wrong password, a forged linking value, a certificate that
// step-ca refuses, one that is withheld, and step-ca out of reach.
func failures(t *testing.T, s, unplanned *site, ca *stepcatest.CA) {
	t.Helper()
	d := newDevice(t, s)
	der, err := estclient.Request(rand.Reader, newKey(t), namesOf(t, "a.example.net"), forgedLink)
	if err != nil {
		t.Fatal(err)
	}
	write(t, d.dir, "forged.b64", string(wire.EncodeBody(der, false)))
	d.csr("one", "/CN=a.example.net", "")
	d.issued("simpleenroll", "one", basicOption)
	d.refused(d.ask("simpleenroll", "one", "--user "+user+":mistyped-"+password), 401, "")
	if a := d.ask("simpleenroll", "forged", basicOption); a.status != 403 {
		t.Errorf("a forged linking value: %d %q", a.status, a.body)
	}
	d.refused(d.ask("long/simpleenroll", "one", basicOption), 502, notIssued)
	d.moveTo(unplanned)
	d.refused(d.ask("simpleenroll", "one", basicOption), 502, notIssued)
	ca.Stop()
	d.csr("two", "/CN=a.example.net", "") // what is sent again needs no CA
	for _, s := range []*site{s, unplanned} {
		d.moveTo(s)
		d.refused(d.ask("simpleenroll", "two", basicOption), 503, later)
	}
}

// private is the member d of a JWK: the private key (RFC 7518 section 6.2.2).
func private(t *testing.T, jwk []byte) string {
	t.Helper()
	var key struct {
		D string `json:"d"`
	}
	if err := json.Unmarshal(jwk, &key); err != nil || key.D == "" {
		t.Fatalf("no private key: %v", err)
	}
	return key.D
}

// issuedTokens are the tokens that step-ca has logged: those of ours.
func issuedTokens(t *testing.T, ca *stepcatest.CA) []string {
	t.Helper()
	var tokens []string
	for line := range strings.Lines(ca.Written()) {
		var entry struct {
			Token string `json:"ott"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Token != "" {
			tokens = append(tokens, entry.Token)
		}
	}
	if len(tokens) < 6 {
		t.Fatalf("step-ca logged %d tokens, want one for each certificate", len(tokens))
	}
	return tokens
}

// leaks looks for a secret as it is, in hex, and inside any base64.
func leaks(t *testing.T, program, output, name, secret string) {
	t.Helper()
	forms := []string{secret, hex.EncodeToString([]byte(secret))}
	for shift := range 3 {
		padded := append(make([]byte, shift), secret...)
		padded = padded[:len(padded)/3*3]
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			// The first group may hold bytes before the secret.
			forms = append(forms, encoding.EncodeToString(padded)[4:])
		}
	}
	for _, form := range forms {
		if i := strings.Index(output, form); i >= 0 {
			t.Errorf("%s printed the %s: …%s…", program, name, output[max(0, i-200):min(len(output), i+60)])
			return
		}
	}
	// A token isn't logged in part either.
	if _, signature, ok := strings.Cut(secret, "."); ok && len(signature) > 40 && strings.Contains(output, signature[len(signature)-40:]) {
		t.Errorf("%s printed the end of the %s", program, name)
	}
}
