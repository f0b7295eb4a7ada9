// SPDX-License-Identifier: Apache-2.0

package integration

import (
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/store"
)

func init() {
	if os.Getenv(asCaddy) != "1" {
		faults = append(faults,
			fault{"the server's clock is set, before step-ca", 2 * len(clockSteps), clockBeforeStepCA},
			fault{"the server's clock is set, with the embedded CA", 2 * len(clockSteps), clockWithEmbeddedCA},
		)
	}
}

const (
	// stepRepeat is how long a request may be repeated, and stepLife how long a
	// certificate lives: less, so that it ends before.
	stepRepeat = 24 * time.Hour
	stepLife   = 2 * time.Hour
	day        = 24 * time.Hour
)

// clockSteps are by how much the clock is wrong: beyond an entry's lease, the end of
// a certificate, the time in which a request may be repeated, the end of CAs; and
// back.
var clockSteps = []time.Duration{
	45 * time.Second, time.Hour, stepLife + time.Hour, stepRepeat + time.Hour, 400 * day,
	-45 * time.Second, -time.Hour, -stepRepeat - time.Hour, -365 * day,
}

func clockBeforeStepCA(t *testing.T, c *chaos) func(int) {
	fronted(t, c)
	return c.clockSet()
}

func clockWithEmbeddedCA(t *testing.T, c *chaos) func(int) {
	killedWithEmbeddedCA(t, c) // its site
	return c.clockSet()
}

// clockSet has the clock jump while devices enrol, and between a request and its
// repeat; some servers are killed then, and some start with a clock that is wrong.
func (c *chaos) clockSet() func(int) {
	c.rewritePolicy("30d", "2h")
	wrong := newClock(c.t, filepath.Join(c.site.dir, "clock"))
	c.env = []string{clockVar + "=" + wrong.name}
	c.single = c.oneAtATime
	pause := func(most int) { time.Sleep(time.Duration(mathrand.IntN(most)) * time.Millisecond) }
	return func(i int) {
		c.site.env = c.env
		c.site.run()
		step := clockSteps[i%len(clockSteps)]
		back := i/len(clockSteps)%2 == 0 || step.Abs() > 2*day // beyond the life of Caddy's own intermediate
		c.busy(func() {
			pause(150)
			wrong.set(step)
			c.repeated()
			pause(300)
			if back {
				wrong.set(0)
				c.repeated()
				pause(200)
			}
			if i%3 == 2 && step < stepLife { // else what had ended may be under way, and be good again
				_ = c.site.cmd.Process.Kill()
				_ = c.site.cmd.Wait() // it was killed
				c.site.stopped = true
			}
		})
		if i == c.rounds-1 {
			wrong.set(0)
		}
	}
}

// rewritePolicy changes the policy of the site.
func (c *chaos) rewritePolicy(old, text string) {
	name := filepath.Join(c.site.dir, "policy.yaml")
	policy, err := os.ReadFile(name)
	if err != nil || !strings.Contains(string(policy), old) {
		c.t.Fatalf("no %q in %s, %v", old, policy, err)
	}
	write(c.t, c.site.dir, "policy.yaml", strings.Replace(string(policy), old, text, 1))
}

// repeated has devices ask again that were answered.
func (c *chaos) repeated() {
	c.mu.Lock()
	answered := slices.DeleteFunc(slices.Clone(c.devices), func(d *crashed) bool { return !d.answered })
	c.mu.Unlock()
	for range min(len(answered), 4) {
		if status := c.ask(answered[mathrand.IntN(len(answered))]); status == http.StatusAccepted {
			c.t.Error("a repeat waits")
		}
	}
}

// oneAtATime takes several certificates of a device where, by the server's clock,
// each was asked for when the one before had ended or could be repeated no more.
func (c *chaos) oneAtATime(kept store.Store, d *crashed, valid map[string]bool) bool {
	var entries []store.Certificate
	for serial := range valid {
		found, err := kept.Certificates().BySerial(c.t.Context(), serial)
		if err != nil || len(found) != 1 {
			c.t.Errorf("%d entries of %s, %v", len(found), serial, err)
			return false
		}
		entries = append(entries, found[0])
	}
	slices.SortFunc(entries, func(a, b store.Certificate) int { return a.Asked.Compare(b.Asked) })
	for i := range entries[1:] {
		before, e := entries[i], entries[i+1]
		if !e.Asked.After(before.NotAfter) && e.Asked.Sub(before.Asked) < stepRepeat {
			c.t.Logf("%s (%s) was asked for at %s, and %s (%s) at %s, which ends at %s", e.ID, e.State, e.Asked, before.ID, before.State, before.Asked, before.NotAfter)
			return false
		}
	}
	return len(d.serials) > 0 && len(entries) > 0
}
