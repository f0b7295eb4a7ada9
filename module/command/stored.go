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
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/ra/store"
)

// A keeper says where the store is: behind the admin API of the running
// server, or a file that no server has open.
type keeper struct {
	file                     string
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
	if k.file == "" {
		return k.ask(method, path, body, answer)
	}
	if k.address != "" || k.config != "" || k.adapter != "" {
		return errors.New("--store is a file, and --address, --config and --adapter are for a running server: only one of them")
	}
	s, err := store.OpenSQLite(ctx, k.file, store.Options{})
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

func (k *keeper) ask(method, path string, body json.Marshaler, answer json.Unmarshaler) error {
	admin, err := caddycmd.DetermineAdminAPIAddress(k.address, nil, k.config, k.adapter)
	if err != nil {
		return err
	}
	var text io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		text = bytes.NewReader(data)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	resp, err := caddycmd.AdminAPIRequest(admin, method, path, header, text)
	if err != nil {
		return resumeError(err)
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
