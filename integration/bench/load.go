// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A job is what the load is told to do, once.
type job struct {
	Kind    string // enrol, sign, storm, hold or release
	Address string // host:port
	Roots   string // PEM file, for the server's certificate
	// New makes a new TLS connection for each enrolment. Else each worker
	// keeps one.
	New bool
	// Basic is a user and a password, in place of a client certificate.
	Basic string
	// SRP is the user of TLS without certificates, in place of both.
	SRP bool
	// Fresh signs a CSR for each enrolment, as linking makes a device do;
	// Linked binds it to its connection too. Linked wants New and Fresh.
	Fresh, Linked bool
	// Empty is a server that issues nothing.
	Empty   bool
	Workers int
	For     time.Duration // with 0, Count says when it ends
	Count   int           // of enrolments, or of connections to hold
	Rate    float64       // enrolments a second that a storm offers
	// Provisioner and Key (a JWK file) are for sign.
	Provisioner, Key string
}

// A result is what came of a job.
type result struct {
	Count          int
	Took, P50, P99 time.Duration
	Handshake      string // what the server negotiated
	// Of a storm: what was offered, and what was turned away.
	Offered, Turned int
	Error           string
}

// serveLoad takes jobs, one JSON value after the other, until its input ends.
// Before that it makes what the devices have, and leaves their trust anchor
// in the file anchor.pem.
func serveLoad(in io.Reader, out io.Writer) error {
	devices, err := newFleet()
	if err != nil {
		return err
	}
	answers, jobs := json.NewEncoder(out), json.NewDecoder(in)
	if err := answers.Encode(result{}); err != nil {
		return err
	}
	var held holding
	for {
		var j job
		if err := jobs.Decode(&j); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var r result
		switch j.Kind {
		case "enrol", "sign":
			r, err = devices.work(j)
		case "storm":
			r, err = devices.storm(j)
		case "hold":
			r, err = held.open(devices, j)
		case "release":
			held.release()
		default:
			err = fmt.Errorf("no job is named %q", j.Kind)
		}
		if err != nil {
			r.Error = err.Error()
		}
		if err := answers.Encode(r); err != nil {
			return err
		}
	}
}

// A caller makes one enrolment after the other.
type caller interface {
	call() error
	close()
}

// work lets the workers call until time or count is up.
func (f *fleet) work(j job) (result, error) {
	start := time.Now()
	var left atomic.Int64
	left.Store(int64(j.Count))
	goOn := func() bool {
		if j.For > 0 {
			return time.Since(start) < j.For
		}
		return left.Add(-1) >= 0
	}
	handshake := &atomic.Value{}
	times, errs := make([][]time.Duration, j.Workers), make([]error, j.Workers)
	var workers sync.WaitGroup
	for i := range j.Workers {
		workers.Go(func() { times[i], errs[i] = f.one(j, handshake, goOn) })
	}
	workers.Wait()
	took := time.Since(start)
	all := slices.Concat(times...)
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		return result{}, errors.Join(err, fmt.Errorf("%d enrolments succeeded", len(all)))
	}
	slices.Sort(all)
	text, _ := handshake.Load().(string)
	return result{
		Count: len(all), Took: took, Handshake: text,
		P50: all[len(all)/2], P99: all[min(len(all)-1, len(all)*99/100)],
	}, nil
}

// one is a worker. Its first failure ends it.
func (f *fleet) one(j job, handshake *atomic.Value, goOn func() bool) ([]time.Duration, error) {
	c, err := f.caller(j, handshake)
	if err != nil {
		return nil, err
	}
	defer c.close()
	var times []time.Duration
	for goOn() {
		start := time.Now()
		if err := c.call(); err != nil {
			return times, err
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}

func (f *fleet) caller(j job, handshake *atomic.Value) (caller, error) {
	roots, err := poolOf(j.Roots)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if j.Kind == "sign" {
		return newSigner(f, j, cfg)
	}
	return &enroller{fleet: f, job: j, tls: cfg, handshake: handshake}, nil
}

// A holding is idle connections, each of which has enrolled once.
type holding []caller

func (h *holding) open(f *fleet, j job) (result, error) {
	start := time.Now()
	var mu sync.Mutex
	var opening sync.WaitGroup
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	var left atomic.Int64
	left.Store(int64(j.Count))
	for range j.Workers {
		opening.Go(func() {
			for ctx.Err() == nil && left.Add(-1) >= 0 {
				c, err := f.caller(j, &atomic.Value{})
				if err == nil {
					err = c.call()
				}
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				*h = append(*h, c)
				mu.Unlock()
			}
		})
	}
	opening.Wait()
	return result{Count: len(*h), Took: time.Since(start)}, context.Cause(ctx)
}

func (h *holding) release() {
	for _, c := range *h {
		c.close()
	}
	*h = nil
}
