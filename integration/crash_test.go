// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/store"
)

// chaos lets devices enrol while something goes wrong again and again.
type chaos struct {
	t      *testing.T
	fault  fault
	rounds int
	long   bool
	site   *site
	conf   config                                     // of the site
	env    []string                                   // of the server
	open   func(context.Context) (store.Store, error) // nil: the file
	local  bool                                       // the CA dies with the server
	// single tells whether a device has no more valid certificates than it may; nil:
	// there is one.
	single func(kept store.Store, d *crashed, valid map[string]bool) bool
	lines  int // of the CA's, that were looked at

	mu      sync.Mutex
	devices []*crashed
	answers map[string]string // serial numbers by request ids
	fresh   map[string]string // those of this round
	counts  counts
}

// A crashed is a device: it repeats its request until it is answered.
type crashed struct {
	key      *ecdsa.PrivateKey
	name     string
	serials  map[string]bool // of its answers
	answered bool
}

func (c *chaos) run() {
	c.answers, c.fresh = make(map[string]string), make(map[string]string)
	round := c.fault.begin(c.t, c)
	for i := range c.rounds {
		c.counts.rounds++
		round(i)
		c.site.stop()
		c.written(false)
		if c.long && (i+1)%50 == 0 {
			fmt.Printf("%s: %d of %d rounds\n", c.fault.name, i+1, c.rounds)
		}
	}
	c.site.env = c.env
	c.site.run()
	for _, d := range c.devices { // who was answered too: it gets the same
		if status := c.ask(d); status != http.StatusOK {
			c.t.Errorf("%s in the end: %d\n%s", d.name, status, c.site.log)
		}
	}
	c.site.stop()
	c.written(true)
}

// busy lets devices enrol while something is done.
func (c *chaos) busy(do func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for ctx.Err() == nil {
				if c.ask(c.next()) != http.StatusOK {
					time.Sleep(10 * time.Millisecond)
				}
			}
		})
	}
	do()
	cancel()
	workers.Wait()
}

// killed is a round at whose end the server is dead: at a step of an enrolment, or
// at any time.
func (c *chaos) killed(i int) {
	points := []string{diesIntended, diesSigned, diesIssued, diesRecorded, "", ""}
	point := points[i%len(points)]
	if point != "" {
		point = fmt.Sprintf("%s %d", point, 1+mathrand.IntN(8))
	}
	c.site.env = []string{mortalVar + "=" + point}
	c.site.run()
	c.busy(func() {
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
	})
}

// next is a device that waits for an answer, or a new one.
func (c *chaos) next() *crashed {
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
func (c *chaos) ask(d *crashed) int {
	c.mu.Lock()
	c.counts.requests++
	c.mu.Unlock()
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
	c.answers[res.Header.Get("X-Request-Id")], c.fresh[res.Header.Get("X-Request-Id")] = serial, serial
	c.counts.answers++
	return res.StatusCode
}
