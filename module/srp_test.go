// SPDX-License-Identifier: Apache-2.0

package module

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/certless"
)

// This package alone has no engine, as a server that is built without module/srp.
func TestWithoutAnEngineTheOptionSaysHowToGetIt(t *testing.T) {
	err := new(SRPListener).UnmarshalCaddyfile(caddyfile.NewTestDispenser("est_srp devices"))
	if err == nil || !strings.Contains(err.Error(), "CGO_ENABLED=1 ./xcaddy.sh --with github.com/caddy-est/estra/module/srp") || !strings.Contains(err.Error(), "Testfile:1") {
		t.Errorf("%v", err)
	}
}

// TestARefusedHandshakeHasARecord with no name but that of a user there is.
func TestARefusedHandshakeHasARecord(t *testing.T) {
	l := &SRPListener{Realm: "devices", node: "est-1"}
	at := time.Unix(1e9, 0)
	for outcome, want := range map[certless.Outcome][3]string{
		certless.Wrong:     {"unauthenticated", "refused", "SRP, user sensor-7 of realm devices: why"},
		certless.Unknown:   {"unauthenticated", "refused", "SRP, realm devices: why"},
		certless.Throttled: {"throttled", "refused", "SRP, realm devices: why"},
		certless.Unfit:     {"malformed", "refused", "SRP, realm devices: why"},
		certless.Broken:    {"malformed", "refused", "SRP, realm devices: why"},
		certless.Failed:    {"fault", "failed", "SRP, realm devices: why"},
	} {
		rep := certless.Report{At: at, Took: 7 * time.Millisecond, Realm: "devices", Outcome: outcome, Reason: "why"}
		if outcome == certless.Wrong {
			rep.User = "sensor-7"
		}
		r := l.record(rep)
		if got := [3]string{r.Kind.String(), r.Outcome.String(), r.Reason.String()}; got != want {
			t.Errorf("%s: %q, want %q", outcome, got, want)
		}
		if !r.Enrolls() || r.Op != audit.OpHandshake || r.Node != "est-1" || r.MS != 7 || !r.TS.Equal(at) || r.Who != nil || len(r.ID) != 32 {
			t.Errorf("%s: %+v", outcome, r)
		}
	}
}

func TestWhatIsSaidOftenIsSaidSometimes(t *testing.T) {
	var m moments
	if !m.passed(time.Hour) || m.passed(time.Hour) || !m.passed(0) {
		t.Error("said at other times")
	}
}
