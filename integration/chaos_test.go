// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// roundsVar is how many rounds each fault has, in place of a few: ./xcaddy.sh
// chaos sets it.
const roundsVar = "ESTRA_CHAOS_ROUNDS"

// A fault is something that goes wrong again and again while devices enrol.
type fault struct {
	name   string
	rounds int // in the short form
	begin  func(t *testing.T, c *chaos) (round func(i int))
}

// faults in the order of the table that is printed.
var faults = []fault{
	{"the server is killed, before step-ca", 12, killedBeforeStepCA},
	{"the server is killed, with the embedded CA", 12, killedWithEmbeddedCA},
	{"step-ca is killed before, during and after signing", 6, stepCAKilled},
	{"step-ca answers too late", 2, late},
	{"the connection is reset after step-ca has signed", 2, resetAfterSigning},
	{"step-ca answers garbage", 7, answersGarbage},
	{"step-ca signs another key, a name more, what has ended, or is another CA", 4, forges},
	{"a client hangs up at every byte", hangUpRounds, clientHangsUp},
	{"PostgreSQL is restarted", 4, postgresRestarted},
	{"PostgreSQL fails over to a standby", 2, postgresFailsOver},
}

// After each round hold: what the CA has issued is in the store; no answer without
// its record; the chain verifies. In the end no request has two valid certificates.
func TestChaos(t *testing.T) {
	t.Parallel()
	long, given := os.Getenv(roundsVar), 0
	if long != "" {
		var err error
		if given, err = strconv.Atoi(long); err != nil || given < 1 {
			t.Fatalf("%s is %q, want a number from 1", roundsVar, long)
		}
	}
	var mu sync.Mutex
	all := make([]counts, len(faults))
	for i, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			c := &chaos{t: t, fault: f, rounds: f.rounds, long: long != ""}
			if c.long {
				c.rounds = given
			}
			defer func() { mu.Lock(); all[i] = c.counts; mu.Unlock() }()
			c.run()
		})
	}
	t.Cleanup(func() { // when all of them have ended
		text := table(all)
		t.Log("\n" + text)
		if long != "" {
			fmt.Print("\n" + text)
		}
	})
}

// counts are what a fault's rounds have seen. Of the last four there must be none.
type counts struct {
	rounds, requests, answers              int
	atCA, kept, unknown, withheld, revoked int
	records, chains                        int
	lost, extra, unrecorded, unproven      int
}

func table(all []counts) string {
	rows := strings.Join([]string{
		"rounds", "requests", "answers", "at the CA", "in the store", "unknown", "withheld", "revoked", "records", "chains verified",
		"lost", "extra valid", "without record", "chains broken",
	}, "\t") + "\t\n"
	var sum counts
	line := func(c counts, name string) {
		for _, n := range c.all() {
			rows += fmt.Sprintf("%d\t", *n)
		}
		rows += "  " + name + "\n"
	}
	for i, c := range all {
		if c.rounds == 0 {
			continue // it wasn't asked for
		}
		line(c, faults[i].name)
		sum.add(c)
	}
	line(sum, "all")
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = w.Write([]byte(rows)) // to a string
	_ = w.Flush()
	if bad := sum.lost + sum.extra + sum.unrecorded + sum.unproven; bad > 0 {
		fmt.Fprintf(&text, "%d times an invariant was broken\n", bad)
	}
	return text.String()
}

func (c *counts) add(d counts) {
	for i, n := range d.all() {
		*c.all()[i] += *n
	}
}

func (c *counts) all() []*int {
	return []*int{
		&c.rounds, &c.requests, &c.answers, &c.atCA, &c.kept, &c.unknown, &c.withheld, &c.revoked, &c.records, &c.chains,
		&c.lost, &c.extra, &c.unrecorded, &c.unproven,
	}
}

// keepsRecords lets a site keep a chain, and the mortal log beside it.
func keepsRecords(c config) config {
	c.site = strings.Replace(c.site, "policy policy.yaml\n", "policy policy.yaml\n\t\taudit require\n", 1)
	c.extra = `log audit {
		output mortal audit.log
		format json
		include http.handlers.est.audit
	}`
	return c
}

// mortalSite asks a step-ca that notes what it has issued.
func mortalSite(ca *stepcatest.CA, options string) config {
	c := keepsRecords(jwkSite(ca, options))
	c.site = strings.Replace(c.site, "upstream step_ca", "upstream mortal_step_ca", 1)
	return c
}

func killedBeforeStepCA(t *testing.T, c *chaos) func(int) {
	ca := stepcatest.Start(t, stepcatest.Options{CRL: true})
	c.site = prepare(t, mortalSite(ca, ""))
	return c.killed
}

func killedWithEmbeddedCA(t *testing.T, c *chaos) func(int) {
	c.local = true
	before, _, _ := strings.Cut(beforeStepCA, "upstream step_ca")
	c.site = prepare(t, keepsRecords(config{policy: threeUsers, site: before + "upstream mortal_internal\n\t}\n}\n"}))
	return c.killed
}
