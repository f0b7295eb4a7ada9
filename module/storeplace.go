// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/store"
)

// The engines, as the option `store` has them.
const (
	sqliteEngine   = "sqlite"
	postgresEngine = "postgres"
)

// A storePlace is where the store is. The zero value is nowhere.
type storePlace struct {
	engine string
	file   string
	dsn    secret.Text
	source string // where that is written, for messages
}

func (p storePlace) written() bool { return p.engine != "" }

// key tells places apart, and shows no secret.
func (p storePlace) key() string {
	if p.engine == postgresEngine {
		sum := sha256.Sum256([]byte(p.dsn))
		return p.engine + " " + hex.EncodeToString(sum[:])
	}
	return p.engine + " " + p.file
}

// name is for people.
func (p storePlace) name() string {
	if p.engine == postgresEngine {
		return "in PostgreSQL"
	}
	return p.file
}

func (p storePlace) open(ctx context.Context) (store.Store, error) {
	if p.engine == postgresEngine {
		return store.OpenPostgres(ctx, p.dsn, store.Options{})
	}
	return store.OpenSQLite(ctx, p.file, store.Options{Create: true})
}

// errClearPassword: what stands in a configuration, Caddy shows at /config/
// and keeps in autosave.json.
var errClearPassword = errors.New("the connection string has its password in clear, where the admin API shows it: " +
	"write a placeholder for it, {env.NAME} or {file.PATH}, or leave it to PGPASSFILE")

// Check says why the option can't be meant, or nil. It reads no placeholder.
func (c *StoreConfig) Check() error {
	switch {
	case c.Engine == sqliteEngine && c.File != "" && c.DSN == "":
		return nil
	case c.Engine != postgresEngine || c.DSN == "" || c.File != "":
		return errors.New("want the engine sqlite and a file, or the engine postgres and a connection string")
	case store.PasswordInDSN(c.DSN):
		return errClearPassword
	default:
		return nil
	}
}

// place reads the placeholders. It connects to nothing.
func (c *StoreConfig) place() (p storePlace, err error) {
	if err := c.Check(); err != nil {
		return p, fmt.Errorf("store: %w", err)
	}
	if c.Engine == sqliteEngine {
		if p.file, err = expand("store", c.File); err != nil {
			return p, err
		}
		p.engine = sqliteEngine
		p.file, err = filepath.Abs(p.file)
		return p, err
	}
	dsn, err := expand("store", c.DSN)
	if err != nil {
		return p, err
	}
	p.engine, p.dsn = postgresEngine, secret.Text(dsn)
	if err := store.CheckDSN(p.dsn); err != nil {
		return p, err
	}
	return p, nil
}
