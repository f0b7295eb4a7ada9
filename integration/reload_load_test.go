// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// fleetSite takes a fleet by its certificates.
const fleetSite = `localhost:PORT {
	tls internal
	est {
		policy policy.yaml
		certificate off
		anchors {
			fleet fleet.pem
		}
		upstream step_ca URL {
			root step-root.pem
			provisioner PROVISIONER
			key est-ra.jwk
		}
	}
}
`

// bareSite is the same without est.
const bareSite = `localhost:PORT {
	tls internal {
		client_auth {
			mode request
		}
	}
	respond 200
}
`

// A fleet calls while a server is reloaded, and counts.
type fleet struct {
	t    *testing.T
	site *site
	root ratest.Signer

	stop     atomic.Bool
	mu       sync.Mutex
	answered map[string]int // by name: how many answers
	statuses map[int]int
	lost     map[string]error // sent, without an answer
	unmade   []error          // connections
}

// A caller is one device of it.
type caller struct {
	fleet *fleet
	tls   *tls.Config
	keeps bool
	conn  *tls.Conn
	read  *bufio.Reader
}

// call has devices call, half of them on connections that they keep, while
// something is done.
func (f *fleet) call(devices int, meanwhile func()) {
	f.t.Helper()
	f.answered, f.statuses, f.lost = map[string]int{}, map[int]int{}, map[string]error{}
	pool := f.site.tlsPool()
	var all sync.WaitGroup
	for i := range devices {
		c := &caller{fleet: f, keeps: i%2 == 0, tls: &tls.Config{
			RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{f.root.Device(f.t, fmt.Sprintf("fleet-%d", i))},
		}}
		all.Go(func() {
			for n := 0; !f.stop.Load(); n++ {
				c.enrol(fmt.Sprintf("d%d-%d.example.net", i, n))
				time.Sleep(time.Millisecond)
			}
			c.close()
		})
	}
	meanwhile()
	f.stop.Store(true)
	all.Wait()
}

func (c *caller) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// enrol sends one request, once.
func (c *caller) enrol(name string) {
	f := c.fleet
	note := func(change func()) {
		f.mu.Lock()
		defer f.mu.Unlock()
		change()
	}
	if c.conn == nil {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.site.port), c.tls)
		if err != nil {
			note(func() { f.unmade = append(f.unmade, err) })
			return
		}
		c.conn, c.read = conn, bufio.NewReader(conn)
	}
	status, closing, err := c.exchange(name)
	note(func() {
		if err != nil {
			f.lost[name] = err
			return
		}
		f.answered[name]++
		f.statuses[status]++
	})
	if err != nil || closing || !c.keeps {
		c.close()
	}
}

func (c *caller) exchange(name string) (status int, closing bool, err error) {
	body := base64.StdEncoding.EncodeToString(csrtest.New(c.fleet.t,
		csrtest.Signer(csrtest.NewKey(c.fleet.t, "P-256")), csrtest.Subject(csrtest.CN(name)), csrtest.SAN(csrtest.DNS(name))))
	if err := c.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, false, err
	}
	_, err = fmt.Fprintf(c.conn, "POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	if err != nil {
		return 0, false, err
	}
	res, err := http.ReadResponse(c.read, nil)
	if err != nil {
		return 0, false, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, res.Close, err
}

// signed are the subjects of what step-ca has signed.
func signed(t *testing.T, ca *stepcatest.CA) map[string]int {
	t.Helper()
	names := map[string]int{}
	for line := range strings.Lines(ca.Written()) {
		var entry struct {
			Path    string `json:"path"`
			Status  int    `json:"status"`
			Subject string `json:"subject"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && strings.HasSuffix(entry.Path, "/sign") && entry.Status == http.StatusCreated {
			names[entry.Subject]++
		}
	}
	return names
}

const fleetPolicy = `version: 1
name: FLEET-1
default: devices
profiles:
  devices:
    enroll:
      who:
        - client_cert: {anchor: fleet}
      linking: if_present
    subject:
      CN: {require: true, allow: ["*.example.net"]}
    san:
      dns: {allow: ["*.example.net"]}
    key: {ecdsa: [P-256]}
    usage:
      key: [digitalSignature]
      ext: [clientAuth]
    validity: {default: 1d}
`

// fleetSiteOf is a site for a fleet, with a step-ca behind.
func fleetSiteOf(root ratest.Signer, ca *stepcatest.CA) config {
	return config{
		site:   strings.NewReplacer("URL", ca.URL, "PROVISIONER", stepcatest.JWKProvisioner).Replace(fleetSite),
		policy: fleetPolicy,
		files: map[string]string{
			"fleet.pem":     string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate.Raw})),
			"step-root.pem": string(ca.RootPEM()), "est-ra.jwk": string(ca.JWKJSON()),
		},
	}
}

// shake reloads a site while a fleet calls.
func shake(t *testing.T, s *site, root ratest.Signer) *fleet {
	t.Helper()
	const devices, reloads = 8, 5
	f := &fleet{t: t, site: s, root: root}
	f.call(devices, func() {
		for range reloads {
			time.Sleep(400 * time.Millisecond)
			if errs, code := s.reload(); code != 0 {
				t.Errorf("the reload fails with %d:\n%s", code, errs)
			}
		}
		time.Sleep(400 * time.Millisecond)
	})
	return f
}

// At a reload Go's server drops a request that comes on a connection of the old
// configuration after its end began, and the kernel resets connections that
// nobody has accepted: so it is without est. What must hold is that such a
// request was not looked at, and that all others are answered, once.
func TestReloadsUnderLoadLoseNothing(t *testing.T) {
	t.Parallel()
	root, ca := ratest.NewRoot(t, "Fleet"), stepcatest.Start(t, stepcatest.Options{})
	bare := shake(t, serve(t, config{site: bareSite}), root)
	s := serve(t, fleetSiteOf(root, ca))
	f := shake(t, s, root)
	t.Logf("without est: %v, %d requests without an answer, %d connections that weren't made", bare.statuses, len(bare.lost), len(bare.unmade))
	t.Logf("with est: %v, %d requests without an answer, %d connections that weren't made", f.statuses, len(f.lost), len(f.unmade))
	if len(f.statuses) != 1 || f.statuses[http.StatusOK] < 50 {
		t.Errorf("the answers have the statuses %v", f.statuses)
	}
	atCA, recorded := signed(t, ca), map[string]int{}
	for _, r := range s.audits() {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var record struct {
			Outcome string
			CSR     struct{ Subject string }
		}
		if err := json.Unmarshal(text, &record); err != nil || record.Outcome != "issued" {
			t.Errorf("a record says %s", text)
			continue
		}
		recorded[strings.TrimPrefix(record.CSR.Subject, "CN=")]++
	}
	for name, n := range f.answered {
		if n != 1 || atCA[name] != 1 || recorded[name] != 1 {
			t.Errorf("%s: %d answers, %d certificates at the CA, %d records", name, n, atCA[name], recorded[name])
		}
	}
	for name, err := range f.lost {
		if atCA[name] != 0 || recorded[name] != 0 {
			t.Errorf("%s: no answer (%v), %d certificates at the CA, %d records", name, err, atCA[name], recorded[name])
		}
	}
	if len(atCA) != len(f.answered) || len(recorded) != len(f.answered) {
		t.Errorf("%d answers, %d certificates at the CA, %d records", len(f.answered), len(atCA), len(recorded))
	}
}

// What an old configuration had, its requests need until they have ended.
func TestRequestsInFlightOutliveTheirConfiguration(t *testing.T) {
	t.Parallel()
	root, ca := ratest.NewRoot(t, "Fleet"), stepcatest.Start(t, stepcatest.Options{})
	c := fleetSiteOf(root, ca)
	c.site = strings.Replace(c.site, "certificate off", "certificate off\n\t\taudit require {\n\t\t\tfolder DIR/before\n\t\t}", 1)
	s := serve(t, c)
	inFlight := func(names string, meanwhile func()) {
		t.Helper()
		const devices = 6
		f := &fleet{t: t, site: s, root: root, answered: map[string]int{}, statuses: map[int]int{}, lost: map[string]error{}}
		pool := s.tlsPool()
		ca.Pause()
		var all sync.WaitGroup
		for i := range devices {
			d := &caller{fleet: f, keeps: true, tls: &tls.Config{
				RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{root.Device(t, fmt.Sprintf("%s-%d", names, i))},
			}}
			all.Go(func() { d.enrol(fmt.Sprintf("%s%d.example.net", names, i)); d.close() })
		}
		time.Sleep(time.Second) // all are at the CA, which says nothing
		meanwhile()
		ca.Resume()
		all.Wait()
		if f.statuses[http.StatusOK] != devices {
			t.Errorf("%s: %v, without an answer %v, connections that weren't made %v", names, f.statuses, f.lost, f.unmade)
		}
	}
	inFlight("reload", func() {
		file := filepath.Join(s.dir, "Caddyfile")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, s.dir, "Caddyfile", strings.Replace(string(text), "/before", "/after", 1))
		if errs, code := s.reload(); code != 0 {
			t.Fatalf("the reload fails with %d:\n%s", code, errs)
		}
		time.Sleep(1500 * time.Millisecond) // longer than grace_period
	})
	issued := 0
	for _, r := range s.audits() {
		if r["outcome"] == "issued" {
			issued++
		}
	}
	if issued != 6 {
		t.Errorf("%d records of certificates", issued)
	}
	inFlight("stop", func() {
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	})
}
