// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// workers is how many devices call at once.
const workers = 8

// A bench has what is measured, and ends it.
type bench struct {
	plan
	dir     string
	table   *table
	load    *loader
	trio    []*server // bare, empty, estra
	servers []*server
	ca      *stepcatest.CA
}

func (b *bench) close() {
	for _, s := range b.servers {
		s.kill()
	}
	if b.ca != nil {
		b.ca.Stop()
	}
	if b.load != nil {
		b.load.kill()
	}
}

// A loader is the load's process.
type loader struct {
	*process
	jobs    *json.Encoder
	results *json.Decoder
}

func startLoad(ctx context.Context, dir string) (*loader, error) {
	p, err := child(ctx, "load", filepath.Join(dir, "load"))
	if err != nil {
		return nil, err
	}
	in, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	l := &loader{process: p, jobs: json.NewEncoder(in), results: json.NewDecoder(out)}
	if err := l.results.Decode(new(result)); err != nil { // it is ready
		p.kill()
		return nil, p.failed(err)
	}
	return l, nil
}

// do has one job done.
func (l *loader) do(j job) (result, error) {
	var r result
	if err := l.jobs.Encode(j); err != nil {
		return r, l.failed(err)
	}
	if err := l.results.Decode(&r); err != nil {
		return r, l.failed(err)
	}
	if r.Error != "" {
		return r, fmt.Errorf("load on %s: %s", j.Address, r.Error)
	}
	return r, nil
}

func (b *bench) anchor() string { return filepath.Join(b.load.dir, anchorFile) }

// bare, empty and estra start a server that ends with the benchmark, in a
// new folder.
func (b *bench) bare(ctx context.Context) (*server, error) {
	return b.keep(startBare(ctx, b.folder("bare")))
}

func (b *bench) empty(ctx context.Context) (*server, error) {
	return b.keep(startCaddy(ctx, b.folder("empty"), emptySite, b.anchor(), nil))
}

func (b *bench) estra(ctx context.Context, ca *stepcatest.CA) (*server, error) {
	return b.keep(startCaddy(ctx, b.folder("estra"), estSite, b.anchor(), ca))
}

func (b *bench) folder(name string) string {
	return filepath.Join(b.dir, fmt.Sprintf("%s-%d", name, len(b.servers)))
}

func (b *bench) keep(s *server, err error) (*server, error) {
	if err == nil {
		b.servers = append(b.servers, s)
	}
	return s, err
}

// three starts what `new` and `kept` compare, once.
func (b *bench) three(ctx context.Context) error {
	if b.trio != nil {
		return nil
	}
	bare, errBare := b.bare(ctx)
	empty, errEmpty := b.empty(ctx)
	estra, errEstra := b.estra(ctx, nil)
	if err := errors.Join(errBare, errEmpty, errEstra); err != nil {
		return err
	}
	b.trio = []*server{bare, empty, estra}
	return nil
}

func (b *bench) newConnections(ctx context.Context) error {
	return b.compare(ctx, "new", "a new TLS connection for each", job{Kind: "enrol", New: true}, 0.85)
}

func (b *bench) keptConnections(ctx context.Context) error {
	return b.compare(ctx, "kept", "kept connections", job{Kind: "enrol"}, 0.65)
}

// compare holds Estra with its embedded CA against the bare server.
func (b *bench) compare(ctx context.Context, group, how string, j job, least float64) error {
	if err := b.three(ctx); err != nil {
		return err
	}
	bare := b.table.row("bare Go server, "+how, nil, 0)
	lanes := []lane{
		{row: bare, server: b.trio[0], job: j},
		{row: b.table.row("empty Caddy handler, "+how, bare, 0), server: b.trio[1], job: j},
		{row: b.table.row("Estra, embedded CA, "+how, bare, least), server: b.trio[2], job: j},
	}
	lanes[1].job.Empty = true
	return b.race(ctx, group, lanes)
}

// linked holds linked requests against the same without linking: fresh CSRs
// both, on new connections both, that the server closes.
func (b *bench) linked(ctx context.Context) error {
	if err := b.three(ctx); err != nil {
		return err
	}
	base := b.table.row("Estra, embedded CA, a CSR signed for each new connection", nil, 0)
	linked := b.table.row("the same, linked to its connection", base, 0)
	linked.mostCPU = 1.01
	return b.race(ctx, "linked", []lane{
		{row: base, server: b.trio[2], job: job{Kind: "enrol", New: true, Fresh: true}},
		{row: linked, server: b.trio[2], job: job{Kind: "enrol", New: true, Fresh: true, Linked: true}},
	})
}

func (b *bench) basic(ctx context.Context) error {
	if err := b.three(ctx); err != nil {
		return err
	}
	row := b.table.row("Estra, embedded CA, Basic (argon2id), kept connections", nil, 0)
	return b.race(ctx, "basic", []lane{{row: row, server: b.trio[2], job: job{Kind: "enrol", Basic: basicUser + ":" + basicPassword}, slow: true}})
}

func (b *bench) stepCA(ctx context.Context) error {
	var err error
	if b.ca, err = startStepCA(b.dir); err != nil {
		return err
	}
	estra, err := b.estra(ctx, b.ca)
	if err != nil {
		return err
	}
	direct := &server{site: strings.TrimPrefix(b.ca.URL, "https://"), roots: filepath.Join(estra.dir, "step-root.pem"), ca: b.ca.PID()}
	row := b.table.row("step-ca's /sign, kept connections", nil, 0)
	return b.race(ctx, "step-ca", []lane{
		{row: row, server: direct, job: job{Kind: "sign", Provisioner: stepcatest.JWKProvisioner, Key: filepath.Join(estra.dir, "est-ra.jwk")}},
		{row: b.table.row("Estra, step-ca behind, kept connections", row, 0.80), server: estra, job: job{Kind: "enrol"}},
	})
}
