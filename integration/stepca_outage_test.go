// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

const later = "try again later"

func TestStepCAGoesAndComesBack(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	s := serve(t, jwkSite(ca, ""))
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	d.csr("two", "/CN=a.example.net/O=Example Net", "")
	d.issued("simpleenroll", "one", basicOption)
	s.logged(`"level":"warn"`, "upstream step_ca has no CRL that is asked: a revoked certificate can be renewed")

	ca.Stop()
	for op, options := range map[string]string{"simpleenroll": basicOption, "simplereenroll": "--cert one.pem --key one.key"} {
		a := d.ask(op, "two", options)
		d.retries(a)
		record := d.refused(a, 503, later)
		if record.Outcome != "failed" || record.Kind != "upstream_down" || !strings.Contains(string(record.Reason), "no connection to step-ca") {
			t.Errorf("%s: the record has outcome %s, kind %s, reason %q", op, record.Outcome, record.Kind, record.Reason)
		}
		if record.Who == nil || record.Upstream == nil || record.Serial == "" {
			t.Errorf("%s: the record has who %+v, upstream %+v, serial %q", op, record.Who, record.Upstream, record.Serial)
		}
	}
	if code := d.get("cacerts"); code != "200" {
		t.Errorf("/cacerts: %s, want what is known", code)
	}
	d.eventually(func() bool { // it asks every five seconds
		status, _, upstreams := s.ready()
		return status == http.StatusServiceUnavailable && strings.Contains(upstreams["step_ca"], "it doesn't answer")
	})

	ca.Restart()
	d.eventually(func() bool { status, _, _ := s.ready(); return status == http.StatusOK })
	record := d.issued("simplereenroll", "two", "--cert one.pem --key one.key")
	if record.ReplacesSerial == "" || d.certificate("two").Subject.CommonName != "a.example.net" {
		t.Errorf("the renewal replaces %q, and has the subject %s", record.ReplacesSerial, d.certificate("two").Subject)
	}
}

func TestCaddyStartsWithoutStepCA(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	before := serve(t, jwkSite(ca, ""))
	d := newDevice(t, before)
	d.csr("one", "/CN=a.example.net", "")
	d.csr("two", "/CN=a.example.net/O=Example Net", "")
	d.issued("simpleenroll", "one", basicOption)
	before.stop()

	ca.Stop()
	s := serve(t, jwkSite(ca, "")) // with a storage that remembers nothing
	d.moveTo(s)
	s.logged("has no CRL that is asked", `"level":"warn"`, "step_ca")
	s.logged(`"level":"error"`, `"upstream":"step_ca"`, "no connection to step-ca")

	a := d.ask("simplereenroll", "two", "--cert one.pem --key one.key")
	d.retries(a)
	record := d.refused(a, 503, later)
	if record.Outcome != "failed" || !strings.Contains(string(record.Reason), "anchor ours could not be asked") {
		t.Errorf("the record has outcome %s, reason %q", record.Outcome, record.Reason)
	}
	d.refused(d.ask("simplereenroll", "two", ""), 403, "authentication required")
	if a := d.ask("simpleenroll", "two", ""); a.status != 401 || a.header.Get("WWW-Authenticate") == "" {
		t.Errorf("nobody who enrols: %d %v", a.status, a.header)
	}
	a = d.ask("simpleenroll", "two", basicOption)
	d.retries(a)
	d.refused(a, 503, later)
	if code := d.get("cacerts"); code != "503" {
		t.Errorf("/cacerts: %s, want 503", code)
	}
	if code := d.get("csrattrs"); code != "200" {
		t.Errorf("/csrattrs: %s, want 200: it is the policy's alone", code)
	}

	ca.Restart()
	d.eventually(func() bool { return d.get("cacerts") == "200" })
	d.issued("simplereenroll", "two", "--cert one.pem --key one.key")
}

func TestASlowStepCAMayHaveIssued(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	s := serve(t, jwkSite(ca, "timeout 1s"))
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	d.eventually(func() bool { return d.get("cacerts") == "200" })

	ca.Pause()
	began := time.Now()
	a := d.ask("simpleenroll", "one", basicOption)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s, with a timeout of one", took)
	}
	ca.Resume()
	record := d.refused(a, 504, notIssued)
	if record.Outcome != "unknown" || record.Serial == "" || !strings.Contains(string(record.Reason), "step-ca may have issued") {
		t.Errorf("the record has outcome %s, serial %q, reason %q", record.Outcome, record.Serial, record.Reason)
	}
	again := d.issued("simpleenroll", "one", basicOption)
	if again.Serial == record.Serial {
		t.Error("both attempts have one serial number")
	}
	// The serial number of the record is the one to look for at step-ca.
	serial, _ := new(big.Int).SetString(record.Serial, 16)
	d.eventually(func() bool { return strings.Contains(ca.Written(), serial.String()) })
}

// moveTo lets the device speak to another site.
func (d *device) moveTo(s *site) {
	d.curl = strings.Replace(d.curl, d.site.tlsRoot(), s.tlsRoot(), 1)
	d.site = s
}

// eventually waits for up to ten seconds.
func (d *device) eventually(ready func() bool) {
	d.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if ready() {
			return
		}
	}
	d.t.Fatalf("it never came\n%s", d.site.log)
}

// A token is for the address that it goes to, so each has its own.
func TestAnotherAddressOfStepCATakesOver(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	c := jwkSite(ca, "")
	nobody := fmt.Sprintf("https://127.0.0.1:%d", freePort(t))
	c.site = strings.Replace(c.site, ca.URL, nobody+" "+ca.URL, 1)
	s := serve(t, c)
	d := newDevice(t, s)
	for range 4 { // the first address rests after three
		d.csr("one", "/CN=a.example.net", "")
		d.issued("simpleenroll", "one", basicOption)
	}
	s.logged("an address of the CA fails again and again, and isn't asked for a while", strings.TrimPrefix(nobody, "https://"))
	if code := d.get("cacerts"); code != "200" {
		t.Errorf("/cacerts: %s", code)
	}
	if status, _, _ := s.ready(); status != http.StatusOK {
		t.Errorf("/est/ready: %d", status)
	}
}
