// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/store"
)

// A keeper says where the store is: behind the admin API of the running
// server, or a file that no server has open.
type keeper struct {
	file                     string
	variable                 string // of the environment, with a connection string
	address, config, adapter string
}

func (k *keeper) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&k.file, "store", "", "file of a store that no running server has open (default: the store of the running server)")
	cmd.Flags().StringVar(&k.address, "address", "", "address of the admin API, if not the default")
	cmd.Flags().StringVarP(&k.config, "config", "c", "", "configuration file, to find the address of the admin API")
	cmd.Flags().StringVarP(&k.adapter, "adapter", "a", "", "name of its config adapter")
}

// use works with the store in the file where there is one, else it asks the
// running server. Method, path and body are of that; answer is read from it.
func (k *keeper) use(ctx context.Context, direct func(store.Store) error, method, path string, body json.Marshaler, answer json.Unmarshaler) error {
	if !k.direct() {
		return k.ask(method, path, body, answer)
	}
	s, err := k.open(ctx)
	if err != nil {
		return err
	}
	err = direct(s)
	if errors.Is(err, store.ErrUnknown) {
		err = refusal{err}
	}
	if closed := s.Close(); err == nil {
		err = closed
	}
	return err
}

// direct tells that the store itself is opened, and no server asked.
func (k *keeper) direct() bool { return k.file != "" || k.variable != "" }

// alone refuses flags that name several places.
func (k *keeper) alone() error {
	if k.file != "" && k.variable != "" {
		return errors.New("--store is a file, and --postgres a database: only one of them")
	}
	if k.direct() && (k.address != "" || k.config != "" || k.adapter != "") {
		return errors.New("--store is a file, --postgres a database, and --address, --config and --adapter are for a running server: only one of them")
	}
	return nil
}

func (k *keeper) open(ctx context.Context) (store.Store, error) {
	if err := k.alone(); err != nil {
		return nil, err
	}
	if k.file != "" {
		return store.OpenSQLite(ctx, k.file, store.Options{})
	}
	dsn, err := k.dsn()
	if err != nil {
		return nil, err
	}
	return store.OpenPostgres(ctx, dsn, store.Options{})
}

// dsn reads the environment: other users see arguments.
func (k *keeper) dsn() (secret.Text, error) {
	dsn := secret.Text(os.Getenv(k.variable))
	if dsn == "" {
		if strings.Contains(k.variable, "=") || strings.Contains(k.variable, "/") { // don't repeat it
			return "", errors.New("--postgres is the name of an environment variable that has the connection string, not the string itself")
		}
		return "", fmt.Errorf("--postgres %s: the environment has no such variable, or it is empty", k.variable)
	}
	return dsn, nil
}

func (k *keeper) ask(method, path string, body json.Marshaler, answer json.Unmarshaler) error {
	resp, err := k.request(method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("the answer of the admin API can't be read: %w", err)
	}
	return nil
}

// request asks the running server. The caller closes the answer.
func (k *keeper) request(method, path string, body json.Marshaler) (*http.Response, error) {
	admin, err := caddycmd.DetermineAdminAPIAddress(k.address, nil, k.config, k.adapter)
	if err != nil {
		return nil, err
	}
	var text io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		text = bytes.NewReader(data)
	}
	resp, err := caddycmd.AdminAPIRequest(admin, method, path, http.Header{"Content-Type": {"application/json"}}, text)
	if err != nil {
		return nil, resumeError(err)
	}
	return resp, nil
}

// query is a path with one parameter.
func query(path, name, value string) string {
	if value == "" {
		return path
	}
	return path + "?" + url.Values{name: {value}}.Encode()
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
