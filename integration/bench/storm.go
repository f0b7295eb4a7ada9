// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

const (
	// stormLine is what the line to the CA adds to each of its answers, and
	// stormCalls the calls on it at once: together the most that the CA can serve,
	// whatever the machine can.
	stormLine  = 80 * time.Millisecond
	stormCalls = 8
	// stormPeak is how many devices call at its peak, one enrolment after the
	// other, and stormTimes how many times the load comes then.
	stormPeak  = 2 * stormCalls
	stormTimes = 10
	// stormDevices hold a connection each: more than may wait at the server.
	stormDevices = 450
	stormLeast   = 0.90
	// stormLatest is the wait for a place and for a connection to the CA.
	stormLatest = 8.0 // seconds
	stormGrowth = 2.0 // times the memory at the peak, which has fewer connections
)

const stormUpstream = `		upstream step_ca LINE {
			root step-root.pem
			provisioner PROVISIONER
			key est-ra.jwk
			max_connections CALLS
		}`

// A stormed is what came of a storm.
type stormed struct {
	mu     sync.Mutex
	served []time.Duration
	turned int
	failed error // the first
}

// storm measures what is served when ten times as much is asked for: a CA that
// is slow and not this machine sets the peak, so that turning away has the
// machine's time, as it would have where CA and devices are elsewhere.
func (b *bench) storm(ctx context.Context) error {
	var err error
	if b.ca == nil {
		if b.ca, err = startStepCA(b.dir); err != nil {
			return err
		}
	}
	line, err := slowLine(strings.TrimPrefix(b.ca.URL, "https://"))
	if err != nil {
		return err
	}
	defer line.Close()
	upstream := strings.NewReplacer("LINE", "https://"+line.Addr().String(), "PROVISIONER", stepcatest.JWKProvisioner, "CALLS", fmt.Sprint(stormCalls)).Replace(stormUpstream)
	s, err := b.keep(startCaddy(ctx, b.folder("estra"), strings.Replace(estSite, "UPSTREAM", upstream, 1), b.anchor(), b.ca))
	if err != nil {
		return err
	}
	peak := b.table.row(fmt.Sprintf("Estra, a CA that takes %s, %d calls at once: its peak", stormLine, stormCalls), nil, 0)
	flood := b.table.row(fmt.Sprintf("the same, offered %d times as much: served", stormTimes), peak, stormLeast)
	if err := b.warmUp(&lane{row: peak, server: s, job: job{Kind: "enrol", Address: s.site, Roots: s.roots, Workers: workers}, slow: true}); err != nil {
		return err
	}
	var offered, turned, late, growth []float64
	for range min(b.rounds, 3) {
		if err := ctx.Err(); err != nil {
			return err
		}
		at, err := b.stormRound(s, peak, job{Kind: "enrol", Workers: stormPeak})
		if err != nil {
			return err
		}
		before, err := residentSize(s.pid())
		if err != nil {
			return err
		}
		r, err := b.stormRound(s, flood, job{Kind: "storm", Workers: stormDevices, Rate: at.rate() * stormTimes})
		if err != nil {
			return err
		}
		after, err := residentSize(s.pid())
		if err != nil {
			return err
		}
		seconds := r.Took.Seconds()
		offered, turned = append(offered, float64(r.Offered)/seconds), append(turned, float64(r.Turned)/seconds)
		late, growth = append(late, r.P99.Seconds()), append(growth, float64(after)/float64(before))
	}
	note := fmt.Sprintf("%.0f/s were offered, %.0f/s turned away with 503 and Retry-After", median(offered), median(turned))
	b.table.sizes = append(b.table.sizes,
		size{name: "p99 of what is served in the storm, Estra", value: median(late), most: stormLatest, unit: "s", note: note},
		size{name: "RSS in the storm to that at the peak, Estra", value: median(growth), most: stormGrowth, unit: "times", note: fmt.Sprintf("%d connections", stormDevices)},
	)
	return nil
}

func (r result) rate() float64 { return float64(r.Count) / r.Took.Seconds() }

// stormRound is one round of a row, four times as long as others: what waits must
// have its turn.
func (b *bench) stormRound(s *server, of *row, j job) (result, error) {
	j.Address, j.Roots, j.For = s.site, s.roots, 4*b.round
	before, err := b.usage(s)
	if err != nil {
		return result{}, err
	}
	r, err := b.load.do(j)
	if err != nil {
		return r, err
	}
	after, err := b.usage(s)
	if err != nil {
		return r, err
	}
	made := sample{rate: r.rate(), p50: r.P50, p99: r.P99}
	for i := range made.cpu {
		made.cpu[i] = (after[i] - before[i]) / time.Duration(r.Count)
	}
	of.samples = append(of.samples, made)
	return r, s.forgetAudit()
}

// slowLine passes TLS on to an address, and each part of its answers late.
func slowLine(to string) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go passOn(in, to)
		}
	}()
	return l, nil
}

func passOn(in net.Conn, to string) {
	defer in.Close()
	out, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer out.Close()
	go func() {
		_, _ = io.Copy(out, in)
		out.Close()
	}()
	buf := make([]byte, 32<<10)
	for {
		n, err := out.Read(buf)
		time.Sleep(stormLine)
		if _, failed := in.Write(buf[:n]); err != nil || failed != nil {
			return
		}
	}
}

// storm offers enrolments at a rate, whatever comes of them: each to a device
// that has none under way. Who is turned away is another device next time.
func (f *fleet) storm(j job) (result, error) {
	roots, err := poolOf(j.Roots)
	if err != nil {
		return result{}, err
	}
	var handshake atomic.Value
	due, came := make(chan time.Time), &stormed{}
	var devices, connected sync.WaitGroup
	connected.Add(j.Workers)
	for range j.Workers {
		e := &enroller{fleet: f, job: j, tls: &tls.Config{RootCAs: roots, ServerName: "localhost"}, handshake: &handshake}
		devices.Go(func() {
			defer e.close()
			var err error
			d, _ := f.take()
			if e.kept, err = e.connect(d); err != nil {
				came.fail(err)
			}
			connected.Done()
			for range due {
				if e.kept != nil {
					came.ask(e)
				}
			}
		})
	}
	connected.Wait()
	start, offered := time.Now(), 0
	for time.Since(start) < j.For {
		// As many as are due by now: a machine that is busy makes up for it.
		for want := int(time.Since(start).Seconds() * j.Rate); offered < want; offered++ {
			due <- time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(start)
	served := came.until() // what waits now is served later, and isn't counted
	close(due)
	devices.Wait()
	if came.failed != nil || len(served) == 0 {
		return result{}, fmt.Errorf("%d enrolments succeeded: %w", len(served), came.failed)
	}
	slices.Sort(served)
	text, _ := handshake.Load().(string)
	return result{
		Count: len(served), Took: took, Handshake: text, Offered: offered, Turned: came.turned,
		P50: served[len(served)/2], P99: served[min(len(served)-1, len(served)*99/100)],
	}, nil
}

func (s *stormed) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed == nil {
		s.failed = err
	}
}

func (s *stormed) until() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.served)
}

// ask makes one enrolment: it is served, or turned away as it should be.
func (s *stormed) ask(e *enroller) {
	start := time.Now()
	response, err := e.once()
	took := time.Since(start)
	switch {
	case err != nil:
		s.fail(err)
		e.close()
		e.kept = nil
	case response.StatusCode == http.StatusOK:
		s.mu.Lock()
		s.served = append(s.served, took)
		s.mu.Unlock()
	case response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "":
		s.mu.Lock()
		s.turned++
		s.mu.Unlock()
	default:
		s.fail(fmt.Errorf("%s, Retry-After %q", response.Status, response.Header.Get("Retry-After")))
	}
}
