// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/replay"
	"github.com/caddy-est/estra/ra/store"
)

const chainRules = `
version: 1
name: renewals are counted
default: a
profiles:
  a:
    enroll: {who: [{http_basic: {users: [estuser]}}, {client_cert: {anchor: ours}}, {client_cert: {anchor: idevid}}], linking: if_present}
    reenroll:
      who: [{client_cert: {anchor: ours}}]
      linking: if_present
      same_key: allow
      renewals: 2
    serverkeygen: {enabled: true, encryption: if_asked}
BODY
`

// A chainSite counts renewals in a store.
type chainSite struct {
	*onceSite
	file string
}

func newChain(t *testing.T) *chainSite {
	c := &chainSite{onceSite: &onceSite{clock: time.Now()}, file: filepath.Join(t.TempDir(), "store.db")}
	c.site = newSite(t, under(strings.ReplaceAll(chainRules, "BODY", strings.Trim(body, "\n"))), func(x *site) {
		x.Now = func() time.Time { return c.clock }
	})
	c.open()
	t.Cleanup(c.shut)
	return c
}

func (c *chainSite) open() {
	var err error
	if c.store, err = store.OpenSQLite(context.Background(), c.file, store.Options{Create: true}); err != nil {
		c.t.Fatal(err)
	}
	c.Authority.Renewals = c.store.Renewals()
}

func (c *chainSite) shut() {
	if err := c.store.Close(); err != nil {
		c.t.Error(err)
	}
}

// ask sends a request with a key, and gives the certificate for it.
func (c *chainSite) ask(what string, status int, op, key, user string, with ...tls.Certificate) tls.Certificate {
	c.t.Helper()
	g := c.do(call{path: op, body: c.csr(key, "a.example"), user: user, certs: with})
	if g.StatusCode != status {
		_, rep := c.last(g.Header.Get("X-Request-Id"))
		c.t.Fatalf("%s: %d %q, want %d; %v", what, g.StatusCode, g.body, status, rep.Err)
	}
	if status != 200 {
		if record, _ := c.last(g.Header.Get("X-Request-Id")); status == 403 && (record.Kind != "bad_renewal" || !strings.Contains(string(record.Reason), "in a row since")) {
			c.t.Errorf("%s: %s, %s", what, record.Kind, record.Reason)
		}
		return tls.Certificate{}
	}
	return c.issued(key)
}

// issued is the last certificate that the CA has issued, with its key.
func (c *chainSite) issued(key string) tls.Certificate {
	all := c.ca.Issued()
	return tls.Certificate{Certificate: [][]byte{all[len(all)-1].Raw}, PrivateKey: csrtest.Key(c.t, key)}
}

func TestThreat_EndlessRenewal_AStolenKeyRenewsSoManyTimes(t *testing.T) {
	c := newChain(t)
	first := c.ask("the enrolment", 200, "simpleenroll", "P-256/a", right)
	second := c.ask("the first renewal", 200, "simplereenroll", "P-256/b", "", first)
	c.shut()
	c.open()
	third := c.ask("the second, after a restart", 200, "simplereenroll", "P-256/c", "", second)
	c.ask("one too many", 403, "simplereenroll", "P-256/d", "", third)
	c.ask("with the same key", 403, "simplereenroll", "P-256/c", "", third)
	c.ask("to enroll anew by the certificate", 403, "simpleenroll", "P-256/d", "", third)
	g := c.do(call{path: "serverkeygen", body: c.csr("P-256/d", "a.example"), certs: []tls.Certificate{third}})
	c.refused(t, g, 403, "bad_renewal", "certificate cannot be renewed here")
	c.ask("the second again: its answer was lost", 200, "simplereenroll", "P-256/c", "", second)
	again := c.ask("the enrolment again", 200, "simpleenroll", "P-256/d", right, third)
	c.ask("a renewal after it", 200, "simplereenroll", "P-256/e", "", again)
	idevid := c.device("a.example")
	c.ask("the vendor's certificate", 200, "simpleenroll", "P-256/f", "", idevid)
}

// What the CA has signed and we have never seen is found by its key.
func TestThreat_EndlessRenewal_ALostCertificateBeginsNoChain(t *testing.T) {
	c := newChain(t)
	first := c.ask("the enrolment", 200, "simpleenroll", "P-256/a", right)
	second := c.ask("the first renewal", 200, "simplereenroll", "P-256/b", "", first)
	c.ca.Set(ratest.Knobs{Err: context.DeadlineExceeded})
	c.ask("the CA's answer is lost", 504, "simplereenroll", "P-256/c", "", second)
	c.ca.Set(ratest.Knobs{})
	key := csrtest.Key(t, "P-256/c")
	lost := c.ca.Intermediate.Sign(t, c.ca.Issued()[1], key.Public())
	c.ask("it turns up", 403, "simplereenroll", "P-256/d", "", tls.Certificate{Certificate: [][]byte{lost.Raw}, PrivateKey: key})
}

// A certificate that was issued when nobody counted is the first of its chain,
// also where its key stays and an answer is lost.
func TestThreat_EndlessRenewal_AnUncountedCertificateIsTheFirst(t *testing.T) {
	c := newChain(t)
	key := csrtest.Key(t, "P-256/a")
	old := tls.Certificate{PrivateKey: key, Certificate: [][]byte{c.ca.Intermediate.Sign(t, c.template(), key.Public()).Raw}}
	second := c.ask("to enroll anew by the certificate", 200, "simpleenroll", "P-256/b", "", old)
	third := c.ask("a renewal after it", 200, "simplereenroll", "P-256/c", "", second)
	c.ask("one too many after it", 403, "simplereenroll", "P-256/d", "", third)
	for range 5 {
		second = c.ask("the first renewal", 200, "simplereenroll", "P-256/a", "", old)
	}
	third = c.ask("the second", 200, "simplereenroll", "P-256/a", "", second)
	c.ask("one too many", 403, "simplereenroll", "P-256/b", "", third)
	c.ask("the first once more", 200, "simplereenroll", "P-256/a", "", old)
}

// template is a certificate that another program has issued.
func (c *chainSite) template() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "a.example"}, NotBefore: c.clock.Add(-time.Hour), NotAfter: c.clock.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

func TestThreat_EndlessRenewal_RenewalsAtOnceAllCount(t *testing.T) {
	c := newChain(t)
	first := c.ask("the enrolment", 200, "simpleenroll", "P-256/a", right)
	second := c.ask("the first renewal", 200, "simplereenroll", "P-256/b", "", first)
	var all sync.WaitGroup
	for _, key := range []string{"P-256/c", "P-256/d", "P-256/e", "P-256/f"} {
		body := c.csr(key, "a.example")
		all.Go(func() {
			if g := c.do(call{path: "simplereenroll", body: body, certs: []tls.Certificate{second}}); g.StatusCode != 200 {
				t.Errorf("%d %s", g.StatusCode, g.body)
			}
		})
	}
	all.Wait()
	for _, cert := range c.ca.Issued()[2:] {
		chain, err := c.store.Renewals().Chain(t.Context(), sha256.Sum256(cert.Raw))
		if err != nil || chain.Renewals != 2 {
			t.Errorf("%v, %v", chain, err)
		}
	}
}

// A brokenStore is one that can't be asked, or can't be written.
type brokenStore struct {
	store.Renewals
	read, write error
}

func (b brokenStore) Chain(ctx context.Context, ids ...[32]byte) (policy.Chain, error) {
	if b.read != nil {
		return policy.Chain{}, b.read
	}
	return b.Renewals.Chain(ctx, ids...)
}

func (b brokenStore) KeepChains(ctx context.Context, links []store.Link, now time.Time) error {
	if b.write != nil {
		return b.write
	}
	return b.Renewals.KeepChains(ctx, links, now)
}

func TestThreat_EndlessRenewal_WithoutTheStoreNothingIsRenewed(t *testing.T) {
	c := newChain(t)
	first := c.ask("the enrolment", 200, "simpleenroll", "P-256/a", right)
	for _, broken := range []brokenStore{{read: errors.New("away")}, {Renewals: c.store.Renewals(), write: errors.New("full")}} {
		c.Authority.Renewals = broken
		c.ask("a renewal", 503, "simplereenroll", "P-256/b", "", first)
		if n := len(c.ca.Orders()); n != 1 {
			t.Errorf("%d orders", n)
		}
	}
	c.ask("an enrolment by other credentials", 200, "simpleenroll", "P-256/c", right)
	c.Authority.Renewals = nil
	c.ask("nothing counts", 500, "simplereenroll", "P-256/b", "", first)
}

func TestARecordHasTheChainAndIsDecidedAlike(t *testing.T) {
	c := newChain(t)
	first := c.ask("the enrolment", 200, "simpleenroll", "P-256/a", right)
	second := c.ask("the first renewal", 200, "simplereenroll", "P-256/b", "", first)
	third := c.ask("the second", 200, "simplereenroll", "P-256/c", "", second)
	g := c.do(call{path: "simplereenroll", body: c.csr("P-256/d", "a.example"), certs: []tls.Certificate{third}})
	record, _ := c.last(g.Header.Get("X-Request-Id"))
	if record.Input.Chain == nil || record.Input.Chain.Renewals != 2 || record.Input.Chain.Since.IsZero() {
		t.Fatalf("the record has %+v", record.Input.Chain)
	}
	again, err := replay.Request(record)
	if err != nil {
		t.Fatal(err)
	}
	profile, _ := c.Policy.Profile("")
	if f, refused := again.Decide(profile).Refusal(); !refused || f.Path != "profiles.a.reenroll.renewals" || f.Got != "3" || f.Want != "at most 2" {
		t.Errorf("%+v", f)
	}
	again.Chain = nil
	if d := again.Decide(profile); d.Verdict != policy.Allow {
		t.Errorf("without the chain: %v", d.Findings)
	}
}
