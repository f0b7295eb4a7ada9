// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/wire"
)

const cmcPolicy = `version: 1
name: cmc
default: devices
profiles:
  devices:
    labels: [devices]
    fullcmc:
      enroll: {who: [{one_time_password: {}}], linking: if_present}
      reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present}
      on_behalf:
        who: [{client_cert: {anchor: partner, role: ra, subject: {CN: ra.partner.example}}, names: ["*.site.example.net"]}]
        linking: trusted
    subject: {CN: {require: true, allow: ["*.example.net", "*.site.example.net"]}}
    san: {dns: {allow: ["*.example.net"]}}
    key: {ecdsa: [P-256]}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

// cmcDevice is a device whose messages Bouncy Castle makes and reads. It has no
// certificate on TLS: what it is, its messages prove.
type cmcDevice struct {
	t    *testing.T
	site *site
	c    *castle
	http *http.Client
}

func newCMCDevice(t *testing.T) (*cmcDevice, tls.Certificate) {
	t.Helper()
	partner := newFactory(t)
	s := serve(t, config{
		site:   strings.Replace(brokeredSite, "\t\t\tvendor vendor.pem\n", "", 1),
		policy: cmcPolicy, files: map[string]string{"partner.pem": armour("CERTIFICATE", partner.root.Raw)},
	})
	return &cmcDevice{t: t, site: s, c: bouncyCastle(t), http: s.client(nil)}, partner.registrar(pkix.Name{CommonName: "ra.partner.example"})
}

// passwords are good for an identity proof.
func (d *cmcDevice) passwords(count int) (ids, secrets []string) {
	d.t.Helper()
	out, errs, code := runCaddy(d.t, d.site.dir, "est", "otp", "create", "--address", d.site.admin, "--label", "devices", "--cmc", "-n", fmt.Sprint(count), "--csv")
	if code != 0 {
		d.t.Fatal(errs)
	}
	return passwordsOf(d.t, out)
}

// post sends a Full PKI Request, and gives what Bouncy Castle reads in the answer.
func (d *cmcDevice) post(message []byte) (status int, answer url.Values) {
	d.t.Helper()
	res, err := d.http.Post(d.site.url("devices/fullcmc"), wire.TypeCMCRequest, strings.NewReader(base64.StdEncoding.EncodeToString(message)))
	if err != nil {
		d.t.Fatal(err)
	}
	text := body(d.t, res)
	der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		d.t.Fatalf("%s %q", res.Status, text)
	}
	answer = d.c.ask(d.t, "pkiresponse", form("der", b64(der)))
	want := map[string]string{"simple": wire.TypeCertsOnly, "full": wire.TypeCMCResponse}[answer.Get("kind")]
	if got := res.Header.Get("Content-Type"); got != want {
		d.t.Errorf("a %s response has the type %q, want %q", answer.Get("kind"), got, want)
	}
	return res.StatusCode, answer
}

// issued is the certificate over a key in an answer.
func (d *cmcDevice) issued(status int, answer url.Values, key *ecdsa.PrivateKey) *x509.Certificate {
	d.t.Helper()
	certs := certificatesOf(d.t, answer)
	i := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return key.PublicKey.Equal(c.PublicKey) })
	if status != http.StatusOK || i < 0 {
		d.t.Fatalf("%d %v\n%s", status, answer, d.site.log)
	}
	return certs[i]
}

func TestBouncyCastleEnrolsAndRenewsByCMC(t *testing.T) {
	t.Parallel()
	d, _ := newCMCDevice(t)
	ids, secrets := d.passwords(4)
	random := b64(bytes.Repeat([]byte("r"), 64))
	for i, c := range []struct{ verb, encoding string }{{"pkcs10", "der"}, {"crmf", "der"}, {"pkcs10", "ber"}, {"crmf", "ber"}} {
		name := c.verb + " in " + c.encoding
		key, host := newKey(t), fmt.Sprintf("d%d.example.net", i)
		ask := func(key *ecdsa.PrivateKey, more ...string) url.Values {
			request := d.c.request(t, c.verb, key, append(more, "id", "1", "subject", "CN="+host, "dns", host)...)
			if c.verb == "crmf" {
				return form("crm", request, "form", c.encoding)
			}
			return form("tcr", "1 "+request, "form", c.encoding)
		}
		first := ask(key, "linkRandom", random, "linkSecret", secrets[i])
		first.Set("linkRandom", random)
		first.Set("identification", ids[i])
		first.Set("secret", secrets[i])
		first.Set("transactionId", fmt.Sprint(100+i))
		first.Set("senderNonce", b64([]byte(name)))
		status, answer := d.post(d.c.fullRequest(t, key, first))
		one := d.issued(status, answer, key)
		if answer.Get("kind") != "full" || !slices.Equal(answer["status"], []string{"success|1||"}) ||
			answer.Get("transactionId") != fmt.Sprint(100+i) || answer.Get("recipientNonce") != b64([]byte(name)) {
			t.Errorf("%s: %v", name, answer)
		}
		// A certificate signs for the next one: no password any more.
		next := newKey(t)
		second := ask(next)
		second.Set("signerKey", pkcs8(t, key))
		second.Set("signerCert", b64(one.Raw))
		status, answer = d.post(d.c.fullRequest(t, nil, second))
		two := d.issued(status, answer, next)
		if answer.Get("kind") != "simple" || two.Subject.String() != one.Subject.String() || !slices.Equal(two.DNSNames, []string{host}) {
			t.Errorf("%s: a %s response, and a certificate of %s %v", name, answer.Get("kind"), two.Subject, two.DNSNames)
		}
	}
	scanFor(t, d.site, secrets)
}

// An RA brings two requests in one message, and then what a device has signed,
// on its own connection.
func TestBouncyCastleIsARegistrationAuthorityByCMC(t *testing.T) {
	t.Parallel()
	d, ra := newCMCDevice(t)
	d.http = d.site.client(func(c *tls.Config) { c.Certificates = []tls.Certificate{ra} })
	signedByRA := func(pairs ...string) []byte {
		return d.c.fullRequest(t, nil, form(with(pairs, "signerKey", pkcs8(t, ra.PrivateKey), "signerCert", b64(ra.Leaf.Raw))...))
	}
	one, two := newKey(t), newKey(t)
	status, answer := d.post(signedByRA(
		"tcr", "1 "+d.c.request(t, "pkcs10", one, "subject", "CN=a.site.example.net"),
		"crm", d.c.request(t, "crmf", two, "id", "2", "subject", "CN=b.site.example.net")))
	d.issued(status, answer, one)
	if got := d.issued(status, answer, two).Subject.CommonName; got != "b.site.example.net" {
		t.Errorf("the second certificate is of %s", got)
	}
	ids, secrets := d.passwords(1)
	three := newKey(t)
	relayed := form("tcr", "1 "+d.c.request(t, "pkcs10", three, "subject", "CN=c.site.example.net"), "identification", ids[0], "secret", secrets[0])
	status, answer = d.post(d.c.fullRequest(t, three, relayed))
	d.issued(status, answer, three)

	// Its word for a proof isn't enough, and neither is its name for another's device.
	for name, c := range map[string]struct{ ask, said string }{
		"vouched for": {d.c.request(t, "crmf", newKey(t), "id", "1", "subject", "CN=d.site.example.net", "pop", "raVerified"), "failed|1|popFailed"},
		"elsewhere":   {d.c.request(t, "crmf", newKey(t), "id", "1", "subject", "CN=d.example.net"), "failed|1|badRequest"},
	} {
		status, answer := d.post(signedByRA("crm", c.ask))
		if said := strings.Join(answer["status"], " "); status < 400 || !strings.HasPrefix(said, c.said+"|") {
			t.Errorf("%s: %d %q, want %q", name, status, said, c.said)
		}
	}
}

// RFC 7030 section 4.3.2: an HTTP error, with a CMC message that says why.
func TestBouncyCastleReadsWhyItsMessageIsRefused(t *testing.T) {
	t.Parallel()
	d, _ := newCMCDevice(t)
	ids, secrets := d.passwords(1)
	key := newKey(t)
	good := d.c.request(t, "pkcs10", key, "subject", "CN=a.example.net")
	elsewhere := d.c.request(t, "pkcs10", key, "subject", "CN=a.example.com")
	bad := d.c.request(t, "pkcs10", key, "subject", "CN=a.example.net", "pop", "bad")
	badCRMF := d.c.request(t, "crmf", key, "id", "1", "subject", "CN=a.example.net", "pop", "bad")
	vouched := d.c.request(t, "crmf", key, "id", "1", "subject", "CN=a.example.net", "pop", "raVerified")
	random := b64(bytes.Repeat([]byte("r"), 64))
	unlinked := d.c.request(t, "pkcs10", key, "subject", "CN=a.example.net", "linkRandom", random, "linkSecret", "wrong")
	proof := []string{"identification", ids[0], "secret", secrets[0]}
	for name, c := range map[string]struct {
		signer *ecdsa.PrivateKey
		ask    []string
		status int
		said   string
	}{
		"another signature":               {key, with(proof, "tcr", "1 "+good, "fault", "signature"), 403, "failed|0|badMessageCheck"},
		"another content":                 {key, with(proof, "tcr", "1 "+good, "fault", "content"), 403, "failed|0|badMessageCheck"},
		"nobody signed":                   {nil, with(proof, "tcr", "1 "+good), 403, "failed|0|badMessageCheck"},
		"a bad proof of possession":       {key, with(proof, "tcr", "1 "+bad), 400, "failed|1|popFailed"},
		"one in CRMF":                     {key, with(proof, "crm", badCRMF), 400, "failed|1|popFailed"},
		"one that only an RA could vouch": {key, with(proof, "crm", vouched), 400, "failed|1|popFailed"},
		"no identity":                     {key, []string{"tcr", "1 " + good}, 403, "failed|1|badIdentity"},
		"another secret":                  {key, []string{"tcr", "1 " + good, "identification", ids[0], "secret", "wrong"}, 403, "failed|0|badIdentity"},
		"a link by another secret":        {key, with(proof, "tcr", "1 "+unlinked, "linkRandom", random), 403, "failed|1|popFailed"},
		"a name beyond the policy":        {key, with(proof, "tcr", "1 "+elsewhere), 403, "failed|1|badRequest"},
		"an unknown control":              {key, with(proof, "tcr", "1 "+good, "control", "1.3.6.1.4.1.99999.1 BAA="), 400, "failed|1002|badRequest"},
	} {
		status, answer := d.post(d.c.fullRequest(t, c.signer, form(c.ask...)))
		said := answer["status"]
		if status != c.status || answer.Get("kind") != "full" || len(said) != 1 || !strings.HasPrefix(said[0], c.said+"|") {
			t.Errorf("%s: %d %s %q, want %d %q", name, status, answer.Get("kind"), said, c.status, c.said)
		}
	}
	scanFor(t, d.site, secrets)
}
