// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
)

// keeperOf is an audit.Keeper.
type keeperOf struct {
	ready error
	write func(*audit.Record) error
}

func (k keeperOf) Ready(context.Context) error                    { return k.ready }
func (keeperOf) Required() bool                                   { return true }
func (k keeperOf) Write(_ context.Context, r *audit.Record) error { return k.write(r) }

func TestNothingIsIssuedWhereNoRecordCanBeKept(t *testing.T) {
	full := errors.New("no space left on device")
	for name, k := range map[string]keeperOf{
		"it is known before":     {ready: full, write: func(*audit.Record) error { return full }},
		"the write fails":        {write: func(*audit.Record) error { return full }},
		"the write panics":       {write: func(*audit.Record) error { panic("disk") }},
		"it is known, not later": {ready: full, write: func(*audit.Record) error { return nil }},
	} {
		x := newSite(t)
		x.Sink = k
		var reports []Report
		x.Observe = func(_ context.Context, r Report) { reports = append(reports, r) }
		got := x.do(call{certs: []tls.Certificate{x.device("rtr-1")}})
		if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || strings.Contains(got.body, "MII") || strings.Contains(got.body, "space") {
			t.Errorf("%s: %d %v %q", name, got.StatusCode, got.Header, got.body)
		}
		x.http.Close() // Observe runs after the answer
		if len(reports) != 1 || reports[0].Err == nil || reports[0].Err.Kind != ra.Busy || reports[0].Status != http.StatusServiceUnavailable {
			t.Fatalf("%s: %+v", name, reports)
		}
		if asked := reports[0].Outcome.Serial != nil; asked != (k.ready == nil) {
			t.Errorf("%s: the CA was asked: %t", name, asked)
		}
	}
}

func TestEverybodyMayReadTheCAWhereNoRecordCanBeKept(t *testing.T) {
	x := newSite(t)
	x.Sink = keeperOf{ready: errors.New("disk"), write: func(*audit.Record) error { return errors.New("disk") }}
	for _, path := range []string{"cacerts", "csrattrs"} {
		if got := x.do(call{method: http.MethodGet, path: path}); got.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
}

func TestARefusalThatIsNotRecordedIsNoAnswer(t *testing.T) {
	x := newSite(t)
	x.Sink = keeperOf{write: func(*audit.Record) error { return errors.New("disk") }}
	if got := x.do(call{}); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
}
