// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// roundsVar is how often the server is killed, in place of a few.
const roundsVar = "ESTRA_CHAOS_ROUNDS"

const mortalLogs = `log audit {
		output mortal audit.log
		format json
		include http.handlers.est.audit
	}`

func TestCrash_WithAStepCANothingIsLostAndNothingIsIssuedTwice(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{CRL: true})
	c := jwkSite(ca, "")
	c.site = strings.Replace(c.site, "upstream step_ca", "upstream mortal_step_ca", 1)
	c.extra = mortalLogs
	(&crashes{t: t, site: prepare(t, c)}).run()
}

func TestCrash_WithTheEmbeddedCANothingIsLostAndNothingIsIssuedTwice(t *testing.T) {
	t.Parallel()
	c := config{policy: threeUsers, extra: mortalLogs, site: `localhost:PORT {
	tls internal
	est {
		policy policy.yaml
		certificate off
		basic {
			estuser HASH
			second HASH
			third HASH
		}
		upstream mortal_internal
	}
}
`}
	(&crashes{t: t, site: prepare(t, c), local: true}).run()
}

// crashes kills a server again and again while devices enrol.
type crashes struct {
	t     *testing.T
	site  *site
	local bool // the CA dies with the server

	mu      sync.Mutex
	devices []*crashed
	answers map[string]string // serial numbers by request ids
}

// A crashed is a device: it repeats its request until it is answered.
type crashed struct {
	key      *ecdsa.PrivateKey
	name     string
	serials  map[string]bool // of its answers
	answered bool
}

func (c *crashes) run() {
	rounds := 12
	if text := os.Getenv(roundsVar); text != "" {
		var err error
		if rounds, err = strconv.Atoi(text); err != nil {
			c.t.Fatal(err)
		}
	}
	c.answers = make(map[string]string)
	points := []string{diesIntended, diesSigned, diesIssued, diesRecorded, "", ""}
	for round := range rounds {
		point := points[round%len(points)]
		if point != "" {
			point = fmt.Sprintf("%s %d", point, 1+mathrand.IntN(8))
		}
		c.round(point)
		c.written(false)
	}
	c.site.env = nil
	c.site.run()
	for _, d := range c.devices { // who was answered too: it gets the same
		if status := c.ask(d); status != http.StatusOK {
			c.t.Errorf("%s in the end: %d\n%s", d.name, status, c.site.log)
		}
	}
	c.site.stop()
	c.written(true)
	c.t.Logf("%d kills, %d devices, %d answers", rounds, len(c.devices), len(c.answers))
}

// round lets devices enrol until the server is dead: at a point, or at any time.
func (c *crashes) round(point string) {
	c.site.env = []string{mortalVar + "=" + point}
	c.site.run()
	ctx, cancel := context.WithCancel(c.t.Context())
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for ctx.Err() == nil {
				d := c.next()
				if c.ask(d) == 0 {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	dead := make(chan struct{})
	go func() { _ = c.site.cmd.Wait(); close(dead) }()
	wait := 20 * time.Second
	if point == "" {
		wait = time.Duration(mathrand.IntN(300)) * time.Millisecond
	}
	select {
	case <-dead:
	case <-time.After(wait):
		if point != "" {
			c.t.Errorf("the server goes on at %s", point)
		}
		_ = c.site.cmd.Process.Kill()
		<-dead
	}
	c.site.stopped = true
	cancel()
	workers.Wait()
}

// next is a device that waits for an answer, or a new one.
func (c *crashes) next() *crashed {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.devices {
		if !d.answered && mathrand.IntN(3) > 0 {
			return d
		}
	}
	d := &crashed{key: newKey(c.t), name: fmt.Sprintf("d%d.example.net", len(c.devices)), serials: make(map[string]bool)}
	c.devices = append(c.devices, d)
	return d
}

// ask sends the request of a device once, with a CSR that is made anew. 0: there
// was no answer.
func (c *crashes) ask(d *crashed) int {
	der, err := estclient.Request(rand.Reader, d.key, namesOf(c.t, d.name), "")
	if err != nil {
		c.t.Error(err)
		return 0
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	req, err := http.NewRequest(http.MethodPost, c.site.url("devices/simpleenroll"), strings.NewReader(base64.StdEncoding.EncodeToString(der)))
	if err != nil {
		c.t.Error(err)
		return 0
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	req.SetBasicAuth(user, password)
	res, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return 0
	}
	if res.StatusCode != http.StatusOK {
		return res.StatusCode
	}
	answer, err := base64.StdEncoding.DecodeString(string(bytes.ReplaceAll(body, []byte("\r\n"), nil)))
	if err != nil {
		c.t.Error(err)
		return 0
	}
	certs, err := cms.ParseCertsOnly(answer)
	if err != nil || len(certs) != 1 {
		c.t.Errorf("%d certificates, %v", len(certs), err)
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	serial := hex.EncodeToString(certs[0].SerialNumber.Bytes())
	d.answered, d.serials[serial] = true, true
	c.answers[res.Header.Get("X-Request-Id")] = serial
	return res.StatusCode
}

// written holds against each other what the CA has done, what is in the store, in
// the records, and in the hands of devices. In the end no device has a certificate
// but one.
func (c *crashes) written(inTheEnd bool) {
	c.t.Helper()
	kept, err := store.OpenSQLite(c.t.Context(), filepath.Join(c.site.dir, "data", "caddy", "est", "store.db"), store.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	defer kept.Close()
	records, err := os.ReadFile(filepath.Join(c.site.dir, "audit.log"))
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(c.site.dir, mortalLog))
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	valid := make(map[string]map[string]bool) // serial numbers by the hash of the key
	for line := range strings.Lines(string(log)) {
		words := strings.Fields(line)
		if words[0] == "revoked" {
			for _, serials := range valid {
				delete(serials, words[1])
			}
			continue
		}
		entries, err := kept.Certificates().BySerial(c.t.Context(), words[1])
		if err != nil {
			c.t.Fatal(err)
		}
		switch {
		case len(entries) == 1:
		case c.local && len(entries) == 0:
			continue // it has died with the server
		default:
			c.t.Errorf("the CA has issued %s, and the store has %d entries of it", words[1], len(entries))
		}
		if valid[words[2]] == nil {
			valid[words[2]] = make(map[string]bool)
		}
		valid[words[2]][words[1]] = true
	}
	for id, serial := range c.answers {
		entries, err := kept.Certificates().BySerial(c.t.Context(), serial)
		if err != nil || len(entries) != 1 || entries[0].State != store.CertificateIssued {
			c.t.Errorf("a device has the certificate %s, and the store %d entries of it, %v", serial, len(entries), err)
		}
		if !bytes.Contains(records, []byte(`"id":"`+id+`"`)) {
			c.t.Errorf("the answer %s has no record", id)
		}
	}
	if !inTheEnd {
		return
	}
	for _, d := range c.devices {
		der, err := x509.MarshalPKIXPublicKey(d.key.Public())
		if err != nil {
			c.t.Fatal(err)
		}
		spki := sha256.Sum256(der)
		if left := valid[hex.EncodeToString(spki[:])]; len(d.serials) != 1 || len(left) != 1 {
			c.t.Errorf("%s has got %v, and valid are %v", d.name, d.serials, left)
		}
	}
	if problems, err := kept.Upkeep().Check(c.t.Context()); err != nil || len(problems.Problems) > 0 {
		c.t.Errorf("the store: %q, %v", problems.Problems, err)
	}
}
