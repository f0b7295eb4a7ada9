// SPDX-License-Identifier: Apache-2.0

package module

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra/hello"
	"github.com/caddy-est/estra/ra/room"
)

func init() {
	caddy.RegisterModule(&HelloListener{})
}

// HelloListener reads along while a connection begins: which CAs the client's
// TLS ClientHello names, and whether it offers SRP (`est_srp`), which crypto/tls
// tells nobody. It changes nothing and
// reads nothing by itself. It stands directly before `tls`:
//
//	servers {
//		listener_wrappers {
//			est_hello
//			tls
//		}
//	}
type HelloListener struct {
	app  *App
	srv  *caddyhttp.Server
	log  *zap.Logger
	said atomic.Int64 // when it last logged that it is crowded
}

// Bounds of TLS handshakes before any of their work is done: the turns for each
// listener, how many connections wait for one, and for how long.
const (
	leastTurns   = 4
	turnsWaiting = 1024
	turnPatience = 5 * time.Second
	sayCrowded   = 10 * time.Second
)

// CaddyModule returns the Caddy module information.
func (*HelloListener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.listeners.est_hello", New: func() caddy.Module { return new(HelloListener) }}
}

// UnmarshalCaddyfile reads `est_hello`, which has no options.
func (*HelloListener) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.Errf("est_hello has no options")
	}
	return nil
}

// Provision checks the order, in which Caddy has its own ideas: without `tls`
// it puts all wrappers behind TLS, where there is no ClientHello to be read.
func (l *HelloListener) Provision(ctx caddy.Context) error {
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return errors.New("est_hello is for the listener_wrappers of an HTTP server")
	}
	if err := checkWrappers(srv.ListenerWrappersRaw); err != nil {
		return err
	}
	app, err := ctx.App("est")
	if err != nil {
		return fmt.Errorf("getting est app: %w", err)
	}
	l.app, l.srv, l.log = app.(*App), srv, ctx.Logger()
	l.app.second.listen(srv)
	return nil
}

// wrapperNames are those of listener_wrappers, in their order.
func wrapperNames(raw []json.RawMessage) ([]string, error) {
	names := make([]string, len(raw))
	for i, r := range raw {
		var w struct {
			Wrapper string `json:"wrapper"`
		}
		if err := json.Unmarshal(r, &w); err != nil {
			return nil, err
		}
		names[i] = w.Wrapper
	}
	return names, nil
}

// wrapperAt finds a wrapper, and refuses one that stands twice.
func wrapperAt(names []string, name string) (int, error) {
	at := slices.Index(names, name)
	if at >= 0 && slices.Contains(names[at+1:], name) {
		return at, fmt.Errorf("listener_wrappers: %s stands twice", name)
	}
	return at, nil
}

// checkWrappers says whether est_hello stands where it can work.
func checkWrappers(raw []json.RawMessage) error {
	names, err := wrapperNames(raw)
	if err != nil {
		return err
	}
	at, err := wrapperAt(names, "est_hello")
	if err != nil {
		return err
	}
	if at+1 >= len(names) || names[at+1] != "tls" {
		return fmt.Errorf("listener_wrappers: the order is %q, and est_hello must stand directly before tls, for it reads what TLS begins with: write `est_hello` and `tls` on the two last lines before what comes after TLS", names)
	}
	return nil
}

// WrapListener has connections read along. Caddy calls it when the TLS policies
// of the server are made, and before the server accepts its first connection, by
// QUIC too: that is when the choice of certificates is put into them.
func (l *HelloListener) WrapListener(inner net.Listener) net.Listener {
	l.app.second.wrap(l.srv)
	turns := max(leastTurns, 2*runtime.GOMAXPROCS(0))
	return hello.Listener{Listener: inner, Turns: room.New(turns, turnsWaiting, turnPatience), Crowded: l.crowded}
}

// crowded logs that connections are cut off, now and then.
func (l *HelloListener) crowded(err error) {
	now := time.Now().UnixNano()
	before := l.said.Load()
	if now-before < int64(sayCrowded) || !l.said.CompareAndSwap(before, now) {
		return
	}
	l.log.Warn("more clients connect than TLS handshakes can be done, and some are cut off", zap.Error(err))
}

var (
	_ caddy.Provisioner     = (*HelloListener)(nil)
	_ caddy.ListenerWrapper = (*HelloListener)(nil)
	_ caddyfile.Unmarshaler = (*HelloListener)(nil)
)
