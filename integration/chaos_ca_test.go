// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// fronted is a site before a step-ca with a front between them, which notes what
// the CA does.
func fronted(t *testing.T, c *chaos) *stepcatest.Front {
	ca := stepcatest.Start(t, stepcatest.Options{CRL: true})
	var mu sync.Mutex
	front := ca.Front(func(what, serial string, key []byte) {
		mu.Lock()
		defer mu.Unlock()
		file, err := os.OpenFile(filepath.Join(c.site.dir, mortalLog), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Error(err)
			return
		}
		defer file.Close()
		if _, err := fmt.Fprintf(file, "%s %s %x\n", what, serial, sha256.Sum256(key)); err != nil {
			t.Error(err)
		}
	})
	conf := jwkSite(ca, "timeout 1s")
	conf.site = strings.Replace(conf.site, ca.URL, front.URL, 1)
	c.conf = keepsRecords(conf)
	c.site = prepare(t, c.conf)
	return front
}

// spoils has one answer of the CA in each round spoilt, amid others.
func (c *chaos) spoils(front *stepcatest.Front, by ...func(*stepcatest.Asked)) func(int) {
	return func(i int) {
		c.site.run()
		done := make(chan struct{})
		spoil := by[i%len(by)]
		c.busy(func() {
			time.Sleep(time.Duration(mathrand.IntN(50)) * time.Millisecond)
			front.Spoil(func(a *stepcatest.Asked) { defer close(done); spoil(a) })
			select {
			case <-done:
			case <-time.After(20 * time.Second):
				c.t.Error("the CA isn't asked")
			}
			time.Sleep(time.Duration(mathrand.IntN(100)) * time.Millisecond)
		})
	}
}

func stepCAKilled(t *testing.T, c *chaos) func(int) {
	front := fronted(t, c)
	round := c.spoils(front,
		func(a *stepcatest.Asked) { front.Kill(); a.Reset() },
		func(a *stepcatest.Asked) {
			dead := make(chan struct{})
			go func() {
				time.Sleep(time.Duration(mathrand.IntN(6000)) * time.Microsecond)
				front.Kill()
				close(dead)
			}()
			passed := a.Pass()
			<-dead
			if passed {
				a.Answer()
				return
			}
			a.Perhaps()
			a.Reset()
		},
		func(a *stepcatest.Asked) { a.Pass(); front.Kill(); a.Reset() },
	)
	return func(i int) {
		round(i)
		front.Restart()
	}
}

func late(t *testing.T, c *chaos) func(int) {
	return c.spoils(fronted(t, c), func(a *stepcatest.Asked) {
		a.Pass()
		time.Sleep(1200 * time.Millisecond) // the CA has a second
		a.Answer()
	})
}

func resetAfterSigning(t *testing.T, c *chaos) func(int) {
	return c.spoils(fronted(t, c), func(a *stepcatest.Asked) { a.Pass(); a.Reset() })
}

// garbage is an answer in place of the CA's, which has issued.
func garbage(change func(a *stepcatest.Asked)) func(*stepcatest.Asked) {
	return func(a *stepcatest.Asked) { a.Pass(); change(a); a.Answer() }
}

func answersGarbage(t *testing.T, c *chaos) func(int) {
	return c.spoils(fronted(t, c),
		garbage(func(a *stepcatest.Asked) { a.Body = nil }),
		garbage(func(a *stepcatest.Asked) { a.Body = a.Body[:mathrand.IntN(len(a.Body))] }),
		garbage(func(a *stepcatest.Asked) { a.Body[mathrand.IntN(len(a.Body))] ^= 1 << mathrand.IntN(8) }),
		garbage(func(a *stepcatest.Asked) {
			a.Body = []byte(`{"crt":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}`)
		}),
		garbage(func(a *stepcatest.Asked) { a.Body = []byte(`<html>It works!</html>`) }),
		garbage(func(a *stepcatest.Asked) { a.Status, a.Body = http.StatusBadGateway, nil }), // of a gateway that has lost it
	)
}

func forges(t *testing.T, c *chaos) func(int) {
	forged := func(how stepcatest.Forgery) func(*stepcatest.Asked) {
		return func(a *stepcatest.Asked) { a.Forge(how) }
	}
	return c.spoils(fronted(t, c),
		forged(stepcatest.Forgery{Key: newKey(t).Public()}),
		forged(stepcatest.Forgery{Change: func(x *x509.Certificate) { x.DNSNames = append(x.DNSNames, "boss.example.net") }}),
		forged(stepcatest.Forgery{Void: true, Change: func(x *x509.Certificate) {
			x.NotBefore, x.NotAfter = time.Now().AddDate(0, 0, -2), time.Now().AddDate(0, 0, -1)
		}}),
		forged(stepcatest.Forgery{Void: true, Stranger: true}),
	)
}
