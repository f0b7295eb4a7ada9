// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/md5"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/digest"
)

// digestSite has an account of each algorithm: estuser for SHA-256, and old for
// MD5 alone.
var digestSite = strings.Replace(smallest, "basic {", "digest accounts.txt {\n\t\t\tmd5\n\t\t}\n\t\tbasic {", 1)

var digestPolicy = strings.Replace(devices, "- http_basic: {users: [estuser], shared: true}",
	"- digest: {users: [estuser, old]}", 1)

func digestAccounts(t *testing.T) map[string]string {
	t.Helper()
	lines := ""
	for name, algorithm := range map[string]digest.Algorithm{user: digest.SHA256, "old": digest.MD5} {
		a, err := digest.NewAccount(name, digest.Realm, algorithm, password)
		if err != nil {
			t.Fatal(err)
		}
		lines += a.Line()
	}
	return map[string]string{"accounts.txt": lines}
}

// The peer is curl's own Digest.
func TestADeviceEnrolsWithDigest(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: digestSite, policy: digestPolicy, files: digestAccounts(t)})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "DNS:a.example.net")
	for _, protocol := range []string{"--http1.1", "--http2"} {
		d.enrol("simpleenroll", "one", protocol+" --digest "+basicOption)
	}
	for name, options := range map[string]string{
		"a wrong password":            "--digest --user " + user + ":wrong",
		"an unknown user":             "--digest --user nobody:" + password,
		"the right password as Basic": basicOption,
	} {
		if status, answer := d.post("simpleenroll", "one", options); status != "401" || answer != "" {
			t.Errorf("%s: %s %q", name, status, answer)
		}
	}
	challenges := sh(t, d.dir, d.curl+" --no-fail-with-body --http1.1 -o /dev/null -D - -X POST -H 'Content-Type: application/pkcs10' "+s.url("simpleenroll"))
	sha, both := strings.Index(challenges, "algorithm=SHA-256"), strings.Count(challenges, "WWW-Authenticate: Digest realm=")
	if md5 := strings.LastIndex(challenges, `", qop="auth"`); sha < 0 || md5 < sha || both != 2 || strings.Contains(challenges, "Basic") {
		t.Errorf("the profile takes Digest alone, the stronger first:\n%s", challenges)
	}
	last := s.audits()[1] // the first is that of the challenge
	if who, _ := last["who"].(map[string]any); who["method"] != "digest" || who["id"] != user {
		t.Errorf("who: %v", last["who"])
	}
	s.noSecrets(t, password, digestAccounts(t)["accounts.txt"])
}

// A device that knows nothing but MD5 takes the challenge that it can read.
func TestAnOldDeviceEnrolsWithMD5(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: digestSite, policy: digestPolicy, files: digestAccounts(t)})
	client, body := s.client(nil), request(t, "a.example.net")
	post := func(authorization string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url("simpleenroll"), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/pkcs10")
		if authorization != "" {
			req.Header.Set("Authorization", authorization)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res
	}
	challenges := post("").Header.Values("WWW-Authenticate")
	if len(challenges) != 2 {
		t.Fatalf("%q", challenges)
	}
	answer := answerMD5(challenges[1], "old")
	if res := post(answer); res.StatusCode != http.StatusOK {
		t.Errorf("status %d\n%s", res.StatusCode, s.log)
	}
	if res := post(answer); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the same answer again: %d", res.StatusCode)
	}
	if !strings.Contains(s.log.String(), "accounts of `digest` may answer with MD5") {
		t.Error("MD5 is on, and nothing warns of it")
	}
}

// noSecrets holds the log, the audit records in it among them, against the
// secrets of a test.
func (s *site) noSecrets(t *testing.T, secrets ...string) {
	t.Helper()
	for _, text := range secrets {
		for line := range strings.Lines(text) {
			line = line[strings.LastIndex(line, ":")+1:]
			if line = strings.TrimSpace(line); line != "" && strings.Contains(s.log.String(), line) {
				t.Errorf("the log has a secret: %s", line)
			}
		}
	}
}

// answerMD5 answers a challenge as RFC 7616 section 3.4.1 has it, by hand.
func answerMD5(challenge, name string) string {
	param := func(key string) string {
		_, after, _ := strings.Cut(challenge, key+`="`)
		value, _, _ := strings.Cut(after, `"`)
		return value
	}
	hash := func(parts ...string) string {
		sum := md5.Sum([]byte(strings.Join(parts, ":")))
		return hex.EncodeToString(sum[:])
	}
	const target = "/.well-known/est/simpleenroll"
	response := hash(hash(name, param("realm"), password), param("nonce"), "00000001", "c", "auth", hash(http.MethodPost, target))
	return `Digest username="` + name + `", realm="` + param("realm") + `", nonce="` + param("nonce") + `", uri="` + target +
		`", response="` + response + `", qop=auth, nc=00000001, cnonce="c"`
}
