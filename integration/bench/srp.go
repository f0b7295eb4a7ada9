// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/srp"
)

// The one user without a certificate.
const (
	srpRealm    = "bench"
	srpUser     = "bench-1"
	srpPassword = "oxw3u7gr3dwslm56q4u7orzn66"
	srpFile     = "bench.srp"
)

const srpWrappers = `	servers {
		listener_wrappers {
			est_hello
			tls
			est_srp ` + srpRealm + ` {
				verifiers ` + srpFile + `
			}
		}
	}
`

// srpSite has the wrappers before and behind TLS.
var srpSite = strings.Replace(estSite, "\ttls internal\n", "\ttls internal # and SRP beside it\n", 1)

// writeSRP leaves the file with the user.
func writeSRP(ctx context.Context, dir string) error {
	group, err := srp.GroupNamed(srp.DefaultGroup)
	if err != nil {
		return err
	}
	v, err := srp.New(rand.Reader, group, srpRealm, srpUser, secret.Text(srpPassword))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	now := time.Now()
	return srp.NewFile(filepath.Join(dir, srpFile), rand.Reader).Add(ctx, []srp.User{{Verifier: v, Created: now}}, false, now)
}

// srp measures what both wrappers cost who comes with a certificate, and what it
// costs to come without.
func (b *bench) srp(ctx context.Context) error {
	plain, err := b.estra(ctx, nil)
	if err != nil {
		return err
	}
	dir := b.folder("estra")
	if err := writeSRP(ctx, dir); err != nil {
		return err
	}
	both, err := b.keep(startCaddy(ctx, dir, srpSite, b.anchor(), nil))
	if err != nil {
		return err
	}
	base := b.table.row("Estra, embedded CA, no listener wrappers, a new TLS connection for each", nil, 0)
	row := b.table.row("the same, behind est_hello and est_srp", base, 0.97)
	without := b.table.row("by SRP, a new TLS connection for each", base, 0)
	without.mostCPU = 1.6
	return b.race(ctx, "srp", []lane{
		{row: base, server: plain, job: job{Kind: "enrol", New: true}},
		{row: row, server: both, job: job{Kind: "enrol", New: true}},
		{row: without, server: both, job: job{Kind: "enrol", New: true, SRP: true}},
	})
}
