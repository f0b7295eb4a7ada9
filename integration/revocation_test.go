// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// vendorCA makes, with OpenSSL: a root, an issuing CA under it, a certificate of
// the issuing CA for an OCSP responder, and CRLs of both.
const vendorCA = `
conf() {
	cat > $1.cnf <<END
[ca]
default_ca = it
[it]
database = $1.idx
serial = $1.srl
crlnumber = $1.num
certificate = $1.pem
private_key = $1.key
new_certs_dir = .
default_md = sha256
default_days = 30
default_crl_days = 1
policy = any
unique_subject = no
[any]
commonName = supplied
[issuing]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[device]
keyUsage = critical,digitalSignature
extendedKeyUsage = clientAuth
[responder]
keyUsage = critical,digitalSignature
extendedKeyUsage = OCSPSigning
noCheck = ignored
END
	: > $1.idx
	echo $2 > $1.srl
	echo 01 > $1.num
}
key() { openssl ecparam -genkey -name prime256v1 -noout -out $1.key; }
issue() { # CA, extensions, name
	key $3
	openssl req -new -key $3.key -subj "/CN=$3" -out $3.csr
	openssl ca -batch -config $1.cnf -extensions $2 -in $3.csr -out $3.pem -notext
}
conf root 1000
conf issuing 2000
key root
openssl req -x509 -new -key root.key -subj "/CN=Vendor Root" -days 30 -out root.pem -addext keyUsage=critical,keyCertSign,cRLSign
issue root issuing issuing
issue issuing responder responder
for name in a b c; do issue issuing device $name; done
openssl ca -config root.cnf -gencrl -out root.crl
openssl ca -config issuing.cnf -gencrl -out issuing.crl
`

// An opensslCA is a CA of files, which sh can be told things about.
type opensslCA struct {
	t   *testing.T
	dir string
	mu  sync.Mutex // of what answers
	off map[string]int
}

func newOpensslCA(t *testing.T) *opensslCA {
	t.Helper()
	need(t, "openssl")
	ca := &opensslCA{t: t, dir: t.TempDir(), off: make(map[string]int)}
	ca.sh(vendorCA)
	return ca
}

func (ca *opensslCA) sh(script string) {
	ca.t.Helper()
	sh(ca.t, ca.dir, "set -e\n"+script)
}

func (ca *opensslCA) read(name string) string {
	ca.t.Helper()
	return read(ca.t, filepath.Join(ca.dir, name))
}

// device is a client certificate with the issuing CA's, as devices present them.
func (ca *opensslCA) device(name string) tls.Certificate {
	ca.t.Helper()
	cert, err := tls.X509KeyPair([]byte(ca.read(name+".pem")+ca.read("issuing.pem")), []byte(ca.read(name+".key")))
	if err != nil {
		ca.t.Fatal(err)
	}
	return cert
}

// fail makes an address answer with a status; 0 ends that.
func (ca *opensslCA) fail(path string, status int) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.off[path] = status
}

// serve answers on loopback: /ocsp by `openssl ocsp`, other paths by the CRL
// of that name.
func (ca *opensslCA) serve() string {
	ca.t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ca.mu.Lock()
		defer ca.mu.Unlock()
		if status := ca.off[r.URL.Path]; status != 0 {
			w.WriteHeader(status)
			return
		}
		if r.URL.Path != "/ocsp" {
			w.Header().Set("Content-Type", "application/pkix-crl")
			_, _ = io.WriteString(w, ca.read(strings.TrimPrefix(r.URL.Path, "/")))
			return
		}
		ca.answer(w, r)
	}))
	ca.t.Cleanup(server.Close)
	return server.URL
}

func (ca *opensslCA) answer(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 20*time.Second)
	defer cancel()
	body, err := io.ReadAll(r.Body)
	if err != nil || os.WriteFile(filepath.Join(ca.dir, "request.der"), body, 0o600) != nil {
		ca.t.Error("the OCSP request can't be kept")
		return
	}
	cmd := exec.CommandContext(ctx, "openssl", "ocsp", "-index", "issuing.idx", "-CA", "issuing.pem",
		"-rsigner", "responder.pem", "-rkey", "responder.key", "-reqin", "request.der", "-respout", "answer.der", "-nmin", "60")
	cmd.Dir = ca.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		ca.t.Errorf("openssl ocsp: %v\n%s", err, out)
		return
	}
	w.Header().Set("Content-Type", "application/ocsp-response")
	_, _ = io.WriteString(w, ca.read("answer.der"))
}

// vendorSite trusts the root of an opensslCA, with a block for the anchor.
func vendorSite(ca *opensslCA, block string) config {
	return config{
		site: strings.Replace(smallest, "basic {\n\t\t\testuser HASH\n\t\t}",
			"anchors {\n\t\t\tvendor root.pem {\n"+block+"\n\t\t\t}\n\t\t}", 1),
		policy: strings.Replace(devices, "http_basic: {users: [estuser], shared: true}", "client_cert: {anchor: vendor}", 1),
		files: map[string]string{
			"root.pem": ca.read("root.pem"), "root.crl": ca.read("root.crl"), "issuing.crl": ca.read("issuing.crl"),
		},
	}
}

// A connection that stays open through all of a test.
type held struct {
	s      *site
	client *http.Client
	conns  map[string]bool
}

func (s *site) hold(cert tls.Certificate) *held {
	s.t.Helper()
	client := s.client(func(c *tls.Config) {
		c.Certificates = []tls.Certificate{cert}
		c.NextProtos = []string{"http/1.1"}
	})
	h := &held{s: s, client: client, conns: make(map[string]bool)}
	tr := client.Transport.(*http.Transport)
	tr.MaxConnsPerHost = 1
	return h
}

// enrol sends one request, and says what came of it.
func (h *held) enrol(name string) int {
	h.s.t.Helper()
	ctx := httptrace.WithClientTrace(h.s.t.Context(), &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) { h.conns[info.Conn.LocalAddr().String()] = true },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.s.url("simpleenroll"), strings.NewReader(request(h.s.t, name)))
	if err != nil {
		h.s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	res, err := h.client.Do(req)
	if err != nil {
		h.s.t.Fatal(err)
	}
	_ = body(h.s.t, res)
	return res.StatusCode
}

// await asks until it is answered with a status.
func (h *held) await(what string, status int) {
	h.s.t.Helper()
	var got int
	for range 40 {
		if got = h.enrol("a.example.net"); got == status {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	h.s.t.Errorf("%s: %d, want %d", what, got, status)
}

// The sources of OpenSSL, lists in files: a change acts on the next request of
// an open connection.
func TestAVendorsListsInFiles(t *testing.T) {
	t.Parallel()
	ca := newOpensslCA(t)
	s := serve(t, vendorSite(ca, "crl root.crl issuing.crl"))
	a, b := s.hold(ca.device("a")), s.hold(ca.device("b"))
	a.await("a, at first", http.StatusOK)
	b.await("b, at first", http.StatusOK)

	ca.sh("openssl ca -config issuing.cnf -revoke a.pem && openssl ca -config issuing.cnf -gencrl -out issuing.crl")
	s.replace("issuing.crl", ca.read("issuing.crl"))
	a.await("a, revoked", http.StatusForbidden)
	b.await("b, not revoked", http.StatusOK)

	s.replace("root.pem", armour("CERTIFICATE", newFactory(t).root.Raw))
	b.await("b, its anchor taken away", http.StatusForbidden)
	s.replace("root.pem", "")
	b.await("b, the anchor's file empty", http.StatusServiceUnavailable)
	if status, anchors := s.readyAnchors(); status != http.StatusServiceUnavailable || !strings.Contains(anchors["vendor"], "root.pem: holds no certificate") {
		t.Errorf("/est/ready: %d, %q", status, anchors)
	}
	s.replace("root.pem", ca.read("root.pem"))
	b.await("b, its anchor back", http.StatusOK)

	ca.sh("openssl ca -config root.cnf -revoke issuing.pem && openssl ca -config root.cnf -gencrl -out root.crl")
	s.replace("root.crl", ca.read("root.crl"))
	b.await("b, its CA revoked", http.StatusForbidden)
	for name, h := range map[string]*held{"a": a, "b": b} {
		if len(h.conns) != 1 {
			t.Errorf("%s had the connections %v", name, h.conns)
		}
	}
}

// replace writes a file of the site as an operator should: aside, then renamed.
func (s *site) replace(name, text string) {
	s.t.Helper()
	if err := os.Rename(write(s.t, s.dir, name+".new", text), filepath.Join(s.dir, name)); err != nil {
		s.t.Fatal(err)
	}
}

// readyAnchors is what /est/ready says of anchors.
func (s *site) readyAnchors() (int, map[string]string) {
	s.t.Helper()
	res, err := http.Get("http://" + s.admin + "/est/ready")
	if err != nil {
		s.t.Fatal(err)
	}
	var state struct{ Anchors map[string]string }
	text := body(s.t, res)
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		s.t.Fatalf("/est/ready: %s %s", res.Status, text)
	}
	return res.StatusCode, state.Anchors
}

func TestAVendorsListsAndResponderAtAddresses(t *testing.T) {
	t.Parallel()
	ca := newOpensslCA(t)
	url := ca.serve()
	ca.sh("openssl ca -config issuing.cnf -revoke b.pem") // for the responder; no list has it
	ca.fail("/root.crl", http.StatusServiceUnavailable)
	s := serve(t, vendorSite(ca, fmt.Sprintf("crl %s/root.crl %s/issuing.crl\n\t\t\t\tocsp %s/ocsp", url, url, url)))
	a := s.hold(ca.device("a"))
	if status := a.enrol("a.example.net"); status != http.StatusServiceUnavailable {
		t.Errorf("a, its CA's list not to be had: %d", status)
	}
	if status, anchors := s.readyAnchors(); status != http.StatusServiceUnavailable || !strings.Contains(anchors["vendor"], "/root.crl: the server answers with status 503") {
		t.Errorf("/est/ready: %d, %q", status, anchors)
	}
	// The one after that is asked for when a half minute is over; a reload asks
	// at once.
	ca.fail("/root.crl", 0)
	if errs, code := s.reload(); code != 0 {
		t.Fatal(errs)
	}
	for name, want := range map[string]int{"a": http.StatusOK, "b": http.StatusForbidden, "c": http.StatusOK} {
		if status := s.hold(ca.device(name)).enrol("a.example.net"); status != want {
			t.Errorf("%s: %d, want %d", name, status, want)
		}
	}
	// From memory, while nobody answers.
	for _, path := range []string{"/root.crl", "/issuing.crl", "/ocsp"} {
		ca.fail(path, http.StatusServiceUnavailable)
	}
	if status := s.hold(ca.device("a")).enrol("a.example.net"); status != http.StatusOK {
		t.Errorf("a, from memory: %d", status)
	}
	s.measures(`caddy_est_expiry_seconds{what="anchor/vendor/crl"}`)
}

func (s *site) measures(text string) {
	s.t.Helper()
	res, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	if metrics := body(s.t, res); !strings.Contains(metrics, text) {
		s.t.Errorf("the metrics have no %s", text)
	}
}

// By default a responder that nobody reaches shuts out its devices; with
// `prefer` only those it has revoked.
func TestThreat_ASourceThatIsSilentFailsClosed(t *testing.T) {
	t.Parallel()
	ca := newOpensslCA(t)
	url := ca.serve()
	ca.fail("/ocsp", http.StatusInternalServerError)
	for mode, want := range map[string]int{
		"": http.StatusServiceUnavailable, "\n\t\t\t\trevocation require": http.StatusServiceUnavailable,
		"\n\t\t\t\trevocation prefer": http.StatusOK, "\n\t\t\t\trevocation off": http.StatusOK,
	} {
		s := serve(t, vendorSite(ca, "crl root.crl\n\t\t\t\tocsp "+url+"/ocsp"+mode))
		if status := s.hold(ca.device("a")).enrol("a.example.net"); status != want {
			t.Errorf("%q: %d, want %d", mode, status, want)
		}
		// What counts without an answer is told apart.
		marked := false
		for _, r := range s.audits() {
			who, _ := r["who"].(map[string]any)
			marked = marked || strings.Contains(fmt.Sprint(who["revocation_unknown"]), "vendor: ocsp "+url+"/ocsp: ")
		}
		if prefer := strings.HasSuffix(mode, "prefer"); marked != prefer {
			t.Errorf("%q: marked in the record: %v", mode, marked)
		} else if prefer {
			s.measures(`caddy_est_revocation_unknown_total{anchor="vendor"} 1`)
		}
		s.stop()
	}
}
