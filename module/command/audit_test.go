// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/audit/chain"
)

// writeChain makes the audit chain of the scripts: three records.
func writeChain(folder string) error {
	key, err := chain.KeptKey(filepath.Join(folder, "checkpoint.key"))
	if err != nil {
		return err
	}
	j, err := chain.Open(folder, chain.Settings{Node: "node-1", Key: key})
	if err != nil {
		return err
	}
	for i, subject := range []string{"CN=rtr-1.example.net,O=Acme", "CN=rtr-2.example.net", "CN==cmd()"} {
		r := audit.New("request-"+string(rune('1'+i)), policy.SimpleEnroll, time.Date(2026, 11, 1+i, 12, 0, 0, 0, time.UTC))
		r.Outcome, r.Status, r.CSR = "issued", 200, &audit.CSR{Subject: audit.Text(subject), SAN: []audit.Text{"dns:alt.example.net"}}
		r.Reason = "=1+1"
		text, err := r.JSON()
		if err == nil {
			err = j.Write(context.Background(), text)
		}
		if err != nil {
			return errors.Join(err, j.Close())
		}
	}
	return j.Close()
}
