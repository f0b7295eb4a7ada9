// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/store/storetest"
)

// onPostgres is a site whose store is in PostgreSQL.
func onPostgres(t *testing.T, c *chaos) {
	fronted(t, c)
	conf := c.conf
	conf.site = strings.Replace(conf.site, "audit require\n", "audit require\n\t\tstore postgres {env.EST_DB}\n", 1)
	conf.dir = c.site.dir
	c.site = prepare(t, conf)
}

// in says where the store is.
func (c *chaos) in(p *storetest.Postgres, others ...*storetest.Postgres) {
	dsn := p.DSN("postgres", others...)
	c.env = []string{"EST_DB=" + string(dsn)}
	c.open = func(ctx context.Context) (store.Store, error) { return store.OpenPostgres(ctx, dsn, store.Options{}) }
	c.site.env = c.env
}

func postgresRestarted(t *testing.T, c *chaos) func(int) {
	p := newPostgres(t)
	onPostgres(t, c)
	c.in(p)
	return func(i int) {
		c.site.run()
		c.busy(func() {
			time.Sleep(time.Duration(mathrand.IntN(200)) * time.Millisecond)
			end := p.Kill
			if i%2 == 1 {
				end = p.Stop
			}
			if err := end(); err != nil {
				t.Error(err)
			}
			if err := p.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
		})
	}
}

func postgresFailsOver(t *testing.T, c *chaos) func(int) {
	p := newPostgres(t)
	onPostgres(t, c)
	return func(int) {
		standby, err := p.Standby(true)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = standby.Remove() })
		c.in(p, standby)
		c.site.run()
		c.busy(func() {
			time.Sleep(time.Duration(mathrand.IntN(200)) * time.Millisecond)
			if err := p.Kill(); err != nil {
				t.Error(err)
			}
			if err := standby.Promote(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond)
		})
		p = standby
		c.in(p)
	}
}
