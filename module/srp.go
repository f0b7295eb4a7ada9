// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/certless"
	"github.com/caddy-est/estra/ra/est"
)

func init() {
	caddy.RegisterModule(&SRPListener{})
}

// srpEngine makes what does the handshakes; nil: this server is built without.
var srpEngine func() (certless.Engine, error)

// RegisterSRP is called by the package that does TLS handshakes with SRP, when it
// is loaded.
func RegisterSRP(engine func() (certless.Engine, error)) { srpEngine = engine }

var errNoSRP = errors.New("est_srp: this server is built without what does such handshakes. Build it with a C compiler and the headers of OpenSSL 3 (Debian: libssl-dev): CGO_ENABLED=1 ./xcaddy.sh --with github.com/caddy-est/estra/module/srp")

var errSRPInFIPS = errors.New("est_srp: this server runs in FIPS 140-3 mode (GOFIPS140, GODEBUG=fips140), and SRP with its SHA-1 isn't approved: leave out est_srp, or the mode")

// SRPListener takes over TLS connections of clients that have nothing but a name
// and a password (RFC 7030 section 3.3.3), by SRP (RFC 5054). All others stay
// Caddy's own. It stands directly after `tls`, and `est_hello` directly before:
//
//	servers {
//		listener_wrappers {
//			est_hello
//			tls
//			est_srp REALM
//		}
//	}
type SRPListener struct {
	// Whose passwords are asked for, as the policy names it. Required.
	Realm string `json:"realm"`
	// The file with the verifiers of the passwords, mode 0600. Default: they are in
	// the store.
	Verifiers string `json:"verifiers,omitempty"`
	// Wrong passwords for each address and user; ten times as many for an address
	// over all users. What comes after is refused as a wrong password is. Default:
	// 10.
	Attempts int `json:"attempts,omitempty"`
	// The time in which they count. Default: 1m.
	AttemptsPer caddy.Duration `json:"attempts_per,omitempty"`
	// How long a client may take for its ClientHello, and with SRP for its whole
	// handshake. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// How many connections may be that far at once, a quarter of them of one
	// address. The others are left to Caddy, which knows no SRP. Default: 512.
	Pending int `json:"pending,omitempty"`

	app      *App
	log      *zap.Logger
	auditLog *zap.Logger
	node     string
	settings certless.Settings
	queues   []string // by which they are released
	crowded  moments
}

// CaddyModule returns the Caddy module information.
func (*SRPListener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.est_srp", New: func() caddy.Module { return new(SRPListener) }}
}

// UnmarshalCaddyfile reads `est_srp REALM { … }`.
func (l *SRPListener) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if srpEngine == nil {
		return d.WrapErr(errNoSRP)
	}
	if !d.AllArgs(&l.Realm) {
		return d.Errf("est_srp takes the name of a realm: `est_srp REALM`")
	}
	seen := map[string]bool{}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name, value := d.Val(), ""
		if seen[name] {
			return d.Errf("est_srp: %s is written twice", name)
		}
		seen[name] = true
		if !d.AllArgs(&value) {
			return d.Errf("est_srp: %s takes one value", name)
		}
		if err := l.option(d, name, value); err != nil {
			return err
		}
	}
	return nil
}

func (l *SRPListener) option(d *caddyfile.Dispenser, name, value string) (err error) {
	switch name {
	case "verifiers":
		l.Verifiers = value
	case "attempts":
		n, per, err := ParseRate(value)
		if err != nil {
			return d.Errf("est_srp: attempts %q is not a rate such as 10/m (per s, m or h)", value)
		}
		l.Attempts, l.AttemptsPer = n, caddy.Duration(per)
	case "timeout":
		long, err := caddy.ParseDuration(value)
		if err != nil || long < time.Second || long > time.Minute {
			return d.Errf("est_srp: timeout %q is not a duration from 1s to 1m, such as 10s", value)
		}
		l.Timeout = caddy.Duration(long)
	case "pending":
		if l.Pending, err = strconv.Atoi(value); err != nil || l.Pending < leastPending || l.Pending > mostPending {
			return d.Errf("est_srp: pending %q is not a number from 4 to 65536", value)
		}
	default:
		return d.Errf("est_srp has no option %q: want verifiers, attempts, timeout or pending", name)
	}
	return nil
}

// Provision checks the order of the wrappers, and prepares the users. It opens
// nothing but their file.
func (l *SRPListener) Provision(ctx caddy.Context) error {
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	switch {
	case !ok:
		return errors.New("est_srp is for the listener_wrappers of an HTTP server")
	case srpEngine == nil:
		return errNoSRP
	case fips140.Enabled():
		return errSRPInFIPS
	}
	if err := checkSRPOrder(srv); err != nil {
		return err
	}
	app, err := ctx.App("est")
	if err != nil {
		return fmt.Errorf("getting est app: %w", err)
	}
	l.app, l.log = app.(*App), ctx.Logger()
	l.auditLog = ctx.Logger(&Handler{}).Named("audit") // with those of requests
	if l.node, err = nodeName(); err != nil {
		return err
	}
	if err := l.prepare(); err != nil {
		return fmt.Errorf("est_srp: %w", err)
	}
	l.app.srp.guard(srv)
	return nil
}

// checkSRPOrder says whether est_srp stands where it can work.
func checkSRPOrder(srv *caddyhttp.Server) error {
	names, err := wrapperNames(srv.ListenerWrappersRaw)
	if err != nil {
		return err
	}
	at, err := wrapperAt(names, "est_srp")
	if err != nil {
		return err
	}
	if at < 2 || names[at-1] != "tls" || names[at-2] != "est_hello" {
		return fmt.Errorf("listener_wrappers: the order is %q, and est_srp must stand directly after tls, with est_hello directly before it: write `est_hello`, `tls` and `est_srp REALM` on three lines in this order", names)
	}
	return nil
}

// prepare makes the settings of the listeners.
func (l *SRPListener) prepare() error {
	limits, err := Limits{Attempts: l.Attempts, AttemptsPer: l.AttemptsPer}.defaults()
	if err != nil {
		return err
	}
	if l.Pending < 0 || l.Timeout < 0 {
		return errors.New("no bound is below zero")
	}
	file, err := expand("verifiers", l.Verifiers)
	if err != nil {
		return err
	}
	users, err := l.app.SRPUsers(l.Realm, file)
	if err != nil {
		return err
	}
	engine, err := srpEngine()
	if err != nil {
		return err
	}
	l.settings = certless.Settings{
		Engine: engine, Users: users, Realm: l.Realm,
		Attempts: handshakeAttempts{est.NewAttempts(limits.Attempts, time.Duration(limits.AttemptsPer))},
		Observe:  l.observe, Crowded: l.sayCrowded,
		Timeout: time.Duration(l.Timeout), Pending: l.Pending,
	}
	return nil
}

// handshakeAttempts are est.Attempts for handshakes.
type handshakeAttempts struct{ *est.Attempts }

// Begin implements certless.Attempts.
func (a handshakeAttempts) Begin(ctx context.Context, remote netip.Addr, user string, now time.Time) (func(guessed, right bool), error) {
	end, fail := a.Attempts.Begin(ctx, remote, user, now)
	switch {
	case fail == nil:
		return end, nil
	case fail.Kind == ra.Throttled:
		return nil, certless.ErrThrottled
	default:
		return nil, fail
	}
}

// srpQueues hand connections on, by the address that is listened on: a
// configuration shares its own with the one before it.
var srpQueues = caddy.NewUsagePool()

// A pooledQueue ends with its last configuration.
type pooledQueue struct{ certless.Queue }

// Destruct implements caddy.Destructor.
func (*pooledQueue) Destruct() error { return nil }

// WrapListener takes over what offers SRP.
func (l *SRPListener) WrapListener(inner net.Listener) net.Listener {
	key := inner.Addr().Network() + " " + inner.Addr().String()
	shared, _, err := srpQueues.LoadOrNew(key, func() (caddy.Destructor, error) { return new(pooledQueue), nil })
	if err != nil {
		return inner // it can't be
	}
	l.queues = append(l.queues, key)
	return certless.Listen(inner, &shared.(*pooledQueue).Queue, l.settings)
}

// Cleanup lets go of what is shared with other configurations.
func (l *SRPListener) Cleanup() error {
	var failed error
	for _, key := range l.queues {
		_, err := srpQueues.Delete(key)
		failed = errors.Join(failed, err)
	}
	return failed
}

var (
	_ caddy.Provisioner     = (*SRPListener)(nil)
	_ caddy.CleanerUpper    = (*SRPListener)(nil)
	_ caddy.ListenerWrapper = (*SRPListener)(nil)
	_ caddyfile.Unmarshaler = (*SRPListener)(nil)
)
