// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-est/estra/ra/ratest"
)

// Two audiences on one name: Caddy's certificate is that of web trust, and the
// second one is for clients who name its CA in the ClientHello.

const (
	readsHellos = "servers {\n\t\tlistener_wrappers {\n\t\t\test_hello\n\t\t\ttls\n\t\t}\n\t}"
	twoNames    = `localhost:PORT {
	tls internal
	est {
		policy policy.yaml
		second_certificate second.pem second.key
		basic {
			estuser HASH
		}
	}
}
`
)

// second makes the files of a second certificate: leaf, issuing CA, root.
func second(t *testing.T, change ...func(*x509.Certificate)) (root, issuing ratest.Signer, files map[string]string) {
	t.Helper()
	root = ratest.NewRoot(t, "EST Root")
	issuing = root.Sub(t, "EST Issuing CA")
	pair := issuing.Device(t, "localhost", append([]func(*x509.Certificate){func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}}, change...)...)
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return root, issuing, map[string]string{
		"second.pem":  pemOf(pair.Leaf.Raw, issuing.Certificate.Raw, root.Certificate.Raw),
		"second.key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		"root.pem":    pemOf(root.Certificate.Raw),
		"issuing.pem": pemOf(issuing.Certificate.Raw),
		"other.pem":   pemOf(ratest.NewRoot(t, "Another Root").Certificate.Raw),
	}
}

func pemOf(certs ...[]byte) string {
	var out bytes.Buffer
	for _, der := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	return out.String()
}

// TestOpenSSLNamesItsCAs has OpenSSL send certificate_authorities (RFC 8446
// section 4.2.4), and takes the chain that comes.
func TestOpenSSLNamesItsCAs(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	_, _, files := second(t)
	s := serve(t, config{extra: readsHellos, site: twoNames, policy: devices, files: files})
	for _, test := range []struct{ name, options, issuer string }{
		{"none named", "-tls1_3", "Caddy Local Authority"},
		{"none named, TLS 1.2", "-tls1_2", "Caddy Local Authority"},
		{"the root", "-tls1_3 -requestCAfile root.pem", "EST Issuing CA"},
		{"the issuing CA", "-tls1_3 -requestCAfile issuing.pem", "EST Issuing CA"},
		{"a stranger", "-tls1_3 -requestCAfile other.pem", "Caddy Local Authority"},
		{"after a HelloRetryRequest", "-tls1_3 -groups P-384:X25519 -requestCAfile root.pem", "EST Issuing CA"},
		{"another name", "-tls1_3 -requestCAfile root.pem -servername other.localhost", ""},
	} {
		out := sh(t, s.dir, fmt.Sprintf("openssl s_client -connect 127.0.0.1:%d -servername localhost -showcerts %s </dev/null 2>&1 || true", s.port, test.options))
		issuer := issuerOf(out)
		if !strings.Contains(issuer, test.issuer) || test.issuer == "" && issuer != "" {
			t.Errorf("%s: the issuer is %q, want %q\n%s", test.name, issuer, test.issuer, out)
		}
		if sent := strings.Count(out, "BEGIN CERTIFICATE"); test.issuer == "EST Issuing CA" && sent != 2 {
			t.Errorf("%s: %d certificates are sent, want leaf and issuing CA", test.name, sent)
		}
	}
	out := sh(t, s.dir, fmt.Sprintf("printf 'GET /.well-known/est/cacerts HTTP/1.1\\r\\nHost: localhost:%[1]d\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -CAfile root.pem -requestCAfile root.pem -connect localhost:%[1]d -servername localhost 2>/dev/null", s.port))
	if !strings.HasPrefix(out, "HTTP/1.1 200 ") {
		t.Errorf("a client that trusts the EST root alone gets %q", out)
	}
}

// TestTwoAudiencesEnrol runs the example: a device that has nothing yet comes by
// web trust, one that trusts the EST root alone names it. Both enrol.
func TestTwoAudiencesEnrol(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	need(t, "curl")
	files := map[string]string{"policy.yaml": page(t, "../examples/two-audiences/policy.yaml")}
	_, example, _ := strings.Cut(page(t, "../examples/two-audiences/Caddyfile"), "\n}\n\n")
	s := serve(t, config{
		extra: readsHellos, files: files,
		site: strings.NewReplacer("est.example.net", "localhost:PORT", "{env.EST_ONBOARDING_HASH}", "HASH").Replace(example),
	})
	write(t, s.dir, "one.b64", request(t, "a.devices.example.net"))
	ask := "curl -sS --cacert %s --user onboarding:%s -H 'Content-Type: application/pkcs10' --data-binary @one.b64 -o answer -w '%%{http_code}' %s"
	if code := sh(t, s.dir, fmt.Sprintf(ask, s.root("local"), password, s.url("simpleenroll"))); code != "200" {
		t.Errorf("by web trust: %s", code)
	}
	csr := request(t, "b.devices.example.net")
	write(t, s.dir, "request", fmt.Sprintf("POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost:%d\r\nAuthorization: Basic %s\r\nContent-Type: application/pkcs10\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		s.port, base64.StdEncoding.EncodeToString([]byte("onboarding:"+password)), len(csr), csr))
	out := sh(t, s.dir, fmt.Sprintf("openssl s_client -quiet -verify_return_error -CAfile %[2]s -requestCAfile %[2]s -connect localhost:%[1]d -servername localhost <request 2>/dev/null", s.port, s.root("est")))
	if !strings.HasPrefix(out, "HTTP/1.1 200 ") {
		t.Errorf("by the EST root: %q", out)
	}
	if _, err := http.Get(fmt.Sprintf("http://localhost:%d/", s.port)); err != nil {
		t.Errorf("plain HTTP, to which Go answers that it is none of it: %v", err)
	}
}

// issuerOf is the issuer of the server's own certificate, as s_client has it.
func issuerOf(out string) string {
	_, rest, _ := strings.Cut(out, "\nissuer=")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

func vec16(parts ...[]byte) []byte {
	all := slices.Concat(parts...)
	return append([]byte{byte(len(all) >> 8), byte(len(all))}, all...)
}

// hello12 is a ClientHello of TLS 1.2, with trusted_ca_keys unless nil. OpenSSL
// can't send that extension, nor can Go.
func hello12(trusted []byte) []byte {
	extension := func(id byte, data ...[]byte) []byte { return append([]byte{0, id}, vec16(data...)...) }
	extensions := [][]byte{
		extension(0, vec16([]byte{0}, vec16([]byte("localhost")))),
		extension(10, vec16([]byte{0, 29, 0, 23})),
		extension(11, []byte{1, 0}),
		extension(13, vec16([]byte{4, 3, 8, 4, 4, 1})),
		extension(23),
	}
	if trusted != nil {
		extensions = append(extensions, extension(3, vec16(trusted)))
	}
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), []byte{0}, vec16([]byte{0xc0, 0x2b, 0xc0, 0x2f}), []byte{1, 0}, vec16(extensions...))
	msg := append([]byte{1, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	return append([]byte{22, 3, 1}, vec16(msg)...)
}

// answers sends a ClientHello in two pieces, and reads on to the server's
// certificate (RFC 5246 section 7.4.2).
func (s *site) answers(t *testing.T, hello []byte) *x509.Certificate {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for _, part := range [][]byte{hello[:30], hello[30:]} {
		if _, err := conn.Write(part); err != nil {
			t.Fatal(err)
		}
	}
	var messages []byte
	for {
		for len(messages) >= 4 {
			n := 4 + (int(messages[1])<<16 | int(messages[2])<<8 | int(messages[3]))
			if len(messages) < n {
				break
			}
			if messages[0] == 11 {
				length := int(messages[7])<<16 | int(messages[8])<<8 | int(messages[9])
				c, err := x509.ParseCertificate(messages[10 : 10+length])
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			messages = messages[n:]
		}
		var header [5]byte
		if _, err := io.ReadFull(conn, header[:]); err != nil {
			t.Fatal(err)
		}
		record := make([]byte, int(header[3])<<8|int(header[4]))
		if _, err := io.ReadFull(conn, record); err != nil || header[0] != 22 {
			t.Fatalf("record %d: %x, %v", header[0], record, err)
		}
		messages = append(messages, record...)
	}
}

// TestTrustedCAKeysChooseTheCertificate: each form of RFC 6066 section 6.
func TestTrustedCAKeysChooseTheCertificate(t *testing.T) {
	t.Parallel()
	root, issuing, files := second(t)
	s := serve(t, config{extra: readsHellos, site: twoNames, policy: devices, files: files})
	point := func(c *x509.Certificate) []byte {
		if _, isRSA := c.PublicKey.(*rsa.PublicKey); isRSA {
			t.Fatal("the CA's key is RSA")
		}
		info := c.RawSubjectPublicKeyInfo
		return info[len(info)-65:] // P-256: the uncompressed point is last
	}
	hash := func(kind byte, data []byte) []byte {
		sum := sha1.Sum(data)
		return append([]byte{kind}, sum[:]...)
	}
	for name, test := range map[string]struct {
		trusted []byte
		second  bool
	}{
		"without the extension":          {nil, false},
		"x509_name of the root":          {append([]byte{2}, vec16(root.Certificate.RawSubject)...), true},
		"key_sha1_hash of the root":      {hash(1, point(root.Certificate)), true},
		"key_sha1_hash of the issuer":    {hash(1, point(issuing.Certificate)), true},
		"cert_sha1_hash of the root":     {hash(3, root.Certificate.Raw), true},
		"several, the last one matches":  {slices.Concat([]byte{0}, hash(3, []byte("x")), hash(1, point(root.Certificate))), true},
		"pre_agreed":                     {[]byte{0}, false},
		"a stranger's hash":              {hash(3, []byte("x")), false},
		"malformed: a kind nobody knows": {append([]byte{9}, hash(3, root.Certificate.Raw)...), false},
	} {
		t.Run(name, func(t *testing.T) {
			c := s.answers(t, hello12(test.trusted))
			if got := bytes.Equal(c.RawIssuer, issuing.Certificate.RawSubject); got != test.second {
				t.Errorf("the certificate is of %q", c.Issuer)
			}
		})
	}
}

// TestAReloadKeepsBothAudiences: the new configuration has policies of its own.
func TestAReloadKeepsBothAudiences(t *testing.T) {
	t.Parallel()
	root, issuing, files := second(t)
	s := serve(t, config{extra: readsHellos, site: twoNames, policy: devices, files: files})
	if _, errs, code := runCaddy(t, s.dir, "reload", "--force", "--config", "Caddyfile", "--adapter", "caddyfile"); code != 0 {
		t.Fatal(errs)
	}
	if c := s.answers(t, hello12(append([]byte{2}, vec16(root.Certificate.RawSubject)...))); !bytes.Equal(c.RawIssuer, issuing.Certificate.RawSubject) {
		t.Errorf("who names the CA gets the certificate of %q", c.Issuer)
	}
	if c := s.answers(t, hello12(nil)); bytes.Equal(c.RawIssuer, issuing.Certificate.RawSubject) {
		t.Errorf("who names none gets the certificate of %q", c.Issuer)
	}
}

// TestConcurrentAudiencesGetTheirOwn: certmagic shares what a certificate
// manager answers among handshakes for one name.
func TestConcurrentAudiencesGetTheirOwn(t *testing.T) {
	t.Parallel()
	root, issuing, files := second(t)
	s := serve(t, config{extra: readsHellos, site: twoNames, policy: devices, files: files})
	named := append([]byte{2}, vec16(root.Certificate.RawSubject)...)
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			want := i%2 == 0
			hello := hello12(nil)
			if want {
				hello = hello12(named)
			}
			if c := s.answers(t, hello); bytes.Equal(c.RawIssuer, issuing.Certificate.RawSubject) != want {
				t.Errorf("handshake %d: the certificate is of %q", i, c.Issuer)
			}
		})
	}
	all.Wait()
}

// TestHTTP3HasTheCertificateForEST: no listener wrapper sees QUIC.
func TestHTTP3HasTheCertificateForEST(t *testing.T) {
	t.Parallel()
	root, _, files := second(t)
	s := serve(t, config{extra: readsHellos, site: twoNames, policy: devices, files: files})
	pool := x509.NewCertPool()
	pool.AddCert(root.Certificate)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := quic.DialAddr(ctx, fmt.Sprintf("localhost:%d", s.port), &tls.Config{RootCAs: pool, ServerName: "localhost", NextProtos: []string{http3.NextProtoH3}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.ConnectionState().TLS.PeerCertificates[0].Issuer.CommonName; got != "EST Issuing CA" {
		t.Errorf("the certificate is of %q", got)
	}
	_ = conn.CloseWithError(0, "")
}

// TestADeviceThatPinsCacertsStillReachesTheServer: it trusts what it fetched,
// and names no CA. That is right only where /cacerts has the TLS chain's CA.
func TestADeviceThatPinsCacertsStillReachesTheServer(t *testing.T) {
	t.Parallel()
	local := strings.Replace(smallest, "est {", "tls internal\n\test {\n\t\tcertificate off", 1)
	first := serve(t, config{site: local, policy: devices}) // makes Caddy's local CA
	first.stop()
	for _, with := range []bool{false, true} {
		site := local
		if with {
			site = strings.Replace(local, "policy policy.yaml", "policy policy.yaml\n\t\tcacerts_tls "+first.root("local"), 1)
		}
		s := serve(t, config{site: site, policy: devices, dir: first.dir})
		bundle := sh(t, s.dir, fmt.Sprintf("curl -sS --cacert %s %s | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs", s.root("local"), s.url("cacerts")))
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(bundle))
		res, err := s.client(func(c *tls.Config) { c.RootCAs = pool }).Get(s.url("cacerts"))
		if (err == nil) != with {
			t.Errorf("cacerts_tls %t: %v", with, err)
		}
		if err == nil {
			if text := body(t, res); res.StatusCode != http.StatusOK {
				t.Errorf("%s: %s", res.Status, text)
			}
		}
		s.stop()
	}
}

// TestMistakesOfTheSecondCertificateAreFoundAtLoad, by `caddy validate`.
func TestMistakesOfTheSecondCertificateAreFoundAtLoad(t *testing.T) {
	t.Parallel()
	wrappers := func(names ...string) string {
		return "servers {\n\t\tlistener_wrappers {\n\t\t\t" + strings.Join(names, "\n\t\t\t") + "\n\t\t}\n\t}"
	}
	_, _, good := second(t)
	_, _, other := second(t)
	_, _, elsewhere := second(t, func(c *x509.Certificate) { c.DNSNames = []string{"est.example.net"} })
	_, _, client := second(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	files := func(cert, key string) map[string]string {
		return map[string]string{"second.pem": cert, "second.key": key}
	}
	for name, test := range map[string]struct {
		extra, site string
		files       map[string]string
		says        string
	}{
		"all is well":              {extra: readsHellos, files: good},
		"another wrapper before":   {extra: wrappers("proxy_protocol", "est_hello", "tls"), files: good},
		"no wrapper":               {files: good, says: "Caddyfile:12: est: second_certificate: the site's server doesn't read ClientHellos"},
		"the wrapper without tls":  {extra: wrappers("est_hello"), files: good, says: `the order is ["est_hello"], and est_hello must stand directly before tls`},
		"the wrapper after tls":    {extra: wrappers("proxy_protocol", "tls", "est_hello"), files: good, says: `the order is ["proxy_protocol" "tls" "est_hello"]`},
		"another wrapper between":  {extra: wrappers("est_hello", "proxy_protocol", "tls"), files: good, says: "must stand directly before tls"},
		"the wrapper twice":        {extra: wrappers("est_hello", "est_hello", "tls"), files: good, says: "est_hello stands twice"},
		"the wrapper with a value": {extra: wrappers("est_hello 1", "tls"), files: good, says: "est_hello has no options"},
		"HTTP/3 alone":             {extra: strings.Replace(readsHellos, "servers {", "servers {\n\t\tprotocols h3", 1), files: good, says: "second_certificate: this server speaks HTTP/3 alone"},
		"with client_certs off":    {extra: readsHellos, site: strings.Replace(twoNames, "policy ", "client_certs off\n\t\tpolicy ", 1), files: good, says: "second_certificate: with `client_certs off` the site's TLS isn't est's"},
		"no files":                 {extra: readsHellos, says: "second_certificate: open second.pem: no such file"},
		"another key":              {extra: readsHellos, files: files(good["second.pem"], other["second.key"]), says: "second.pem with the key second.key: tls: private key does not match public key"},
		"another name":             {extra: readsHellos, files: elsewhere, says: "second.pem: x509: certificate is valid for est.example.net, not localhost"},
		"for clients":              {extra: readsHellos, files: client, says: "isn't for servers: its extended key usages lack serverAuth"},
		"a foreign root":           {extra: readsHellos, files: files(cutLast(good["second.pem"])+other["root.pem"], good["second.key"]), says: `certificate 2 ("CN=EST Issuing CA") isn't signed by the next`},
		"an unset variable":        {extra: readsHellos, site: strings.Replace(twoNames, "second.key", "{env.ESTRA_NOT_SET}", 1), files: good, says: "second_certificate: "},
		"from an upstream":         {extra: readsHellos, site: issuedSecond},
		"from one, no wrapper":     {site: issuedSecond, says: "Caddyfile:12: est: second_certificate: the site's server doesn't read ClientHellos"},
		"from one, too short":      {extra: readsHellos, site: strings.Replace(issuedSecond, "from internal", "from internal {\n\t\t\tvalidity 5s\n\t\t}", 1), says: "est: second_certificate from internal: a validity of 5s is too short"},
		"from one, a file as key":  {extra: readsHellos, site: strings.Replace(issuedSecond, "from internal", "from internal {\n\t\t\tkey second.key\n\t\t}", 1), says: `second_certificate from internal: key: "second.key" isn't the URI of a key`},
		"cacerts_tls with a leaf":  {extra: readsHellos, site: strings.Replace(twoNames, "policy ", "cacerts_tls second.pem\n\t\tpolicy ", 1), files: good, says: `cacerts_tls: the certificate "CN=localhost" isn't that of a CA`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := test.site
			if site == "" {
				site = twoNames
			}
			s := prepare(t, config{extra: test.extra, site: site, policy: devices, files: test.files})
			_, errs, code := runCaddy(t, s.dir, "validate", "--config", "Caddyfile", "--adapter", "caddyfile")
			if (code == 0) != (test.says == "") || !strings.Contains(strings.ReplaceAll(errs, `\"`, `"`), test.says) {
				t.Errorf("exit %d, want %q:\n%s", code, test.says, errs)
			}
		})
	}
}

// cutLast leaves out the last certificate.
func cutLast(text string) string { return text[:strings.LastIndex(text, "-----BEGIN")] }

// TestAnyHostStandsBesideASecondCertificate: it is no reliance on client
// certificates.
func TestAnyHostStandsBesideASecondCertificate(t *testing.T) {
	t.Parallel()
	_, _, files := second(t)
	byAddress := strings.NewReplacer("localhost:PORT", "127.0.0.1:PORT", "\ttls internal\n", "", "second_certificate second.pem second.key", "any_host").Replace(twoNames)
	s := serve(t, config{extra: readsHellos + "\n\tlocal_certs\n\tdefault_sni 127.0.0.1", site: twoNames + byAddress, policy: devices, files: files})
	c := s.answers(t, hello12(nil))
	if !strings.HasPrefix(c.Issuer.CommonName, "Caddy Local Authority") {
		t.Errorf("the certificate is of %q", c.Issuer)
	}
}
