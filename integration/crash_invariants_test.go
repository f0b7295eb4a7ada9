// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/caddy-est/estra/ra/audit/chain"
	"github.com/caddy-est/estra/ra/store"
)

// The first words of the lines in which a CA's doings are noted. The serial number
// follows, and the hash of the key.
const (
	notedIssued  = "issued"
	notedPerhaps = "perhaps" // it was asked, and was killed meanwhile
	notedVoid    = "void"    // it is valid for nobody
	notedRevoked = "revoked"
)

// recordID is in a record of a request.
var recordID = regexp.MustCompile(`"id":"([^"]+)"`)

// written holds against each other what the CA has done, what is in the store, in
// the chain of records, and in the hands of devices: what is new since the last
// time, and in the end all of it. In the end no device has a certificate but one.
func (c *chaos) written(inTheEnd bool) {
	c.t.Helper()
	open := c.open
	if open == nil {
		open = func(ctx context.Context) (store.Store, error) {
			return store.OpenSQLite(ctx, filepath.Join(c.site.dir, "data", "caddy", "est", "store.db"), store.Options{})
		}
	}
	kept, err := open(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	defer kept.Close()
	if inTheEnd {
		c.lines, c.fresh = 0, maps.Clone(c.answers)
	}
	lines := c.noted()
	issued, valid := make(map[string]bool), make(map[string]map[string]bool) // serial numbers; by the hash of the key
	revoked := make(map[string]bool)
	for _, words := range lines[c.lines:] {
		switch serial := words[1]; {
		case words[0] == notedRevoked:
			revoked[serial] = true
		case !c.keeps(kept, serial):
		case words[0] == notedVoid:
			issued[serial] = true
		default:
			issued[serial] = true
			if valid[words[2]] == nil {
				valid[words[2]] = make(map[string]bool)
			}
			valid[words[2]][serial] = true
		}
	}
	c.lines = len(lines)
	recorded := make(map[string]bool)
	for _, found := range recordID.FindAllSubmatch(c.verified(inTheEnd), -1) {
		recorded[string(found[1])] = true
	}
	for id, serial := range c.fresh {
		entries, err := kept.Certificates().BySerial(c.t.Context(), serial)
		if err != nil || len(entries) != 1 || entries[0].State != store.CertificateIssued {
			c.counts.lost++
			c.t.Errorf("a device has the certificate %s, and the store %d entries of it, %v", serial, len(entries), err)
		}
		if !recorded[id] {
			c.counts.unrecorded++
			c.t.Errorf("the answer %s has no record", id)
		}
	}
	c.fresh = make(map[string]string)
	if !inTheEnd {
		return
	}
	c.counts.atCA, c.counts.revoked = len(issued), len(revoked)
	c.once(kept, valid, revoked)
	c.inventory(kept)
}

// noted is what the CA has done: a line for each.
func (c *chaos) noted() (lines [][]string) {
	c.t.Helper()
	log, err := os.ReadFile(filepath.Join(c.site.dir, mortalLog))
	if err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

// keeps says whether the store has what the CA has issued.
func (c *chaos) keeps(kept store.Store, serial string) bool {
	c.t.Helper()
	entries, err := kept.Certificates().BySerial(c.t.Context(), serial)
	switch {
	case err != nil:
		c.t.Fatal(err)
	case len(entries) == 1:
		return true
	case c.local && len(entries) == 0: // it has died with the server
	default:
		c.counts.lost++
		c.t.Errorf("the CA has issued %s, and the store has %d entries of it", serial, len(entries))
	}
	return false
}

// verified reads the chain of records, and returns it. A server that was killed
// leaves a line that isn't finished, until it starts again.
func (c *chaos) verified(inTheEnd bool) []byte {
	c.t.Helper()
	folder := filepath.Join(c.site.dir, "data", "caddy", "est", "audit")
	names, err := chain.Files(folder)
	if err != nil {
		c.t.Fatal(err)
	}
	var verifier chain.Verifier
	if key, err := chain.ReadPublicKey(filepath.Join(folder, "checkpoint.key.pub")); err == nil {
		verifier.Keys = []ed25519.PublicKey{key}
	}
	var all []byte
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			c.t.Fatal(err)
		}
		all = append(all, text...)
		if err := verifier.Read(name, bytes.NewReader(text), nil); err != nil && (inTheEnd || !errors.Is(err, chain.ErrCut)) {
			c.counts.unproven++
			c.t.Error(err)
			return all
		}
	}
	report, err := verifier.End()
	if err != nil || inTheEnd && report.Records == 0 {
		c.counts.unproven++
		c.t.Errorf("%d records, %v", report.Records, err)
		return all
	}
	c.counts.chains++
	c.counts.records = int(report.Records)
	return all
}

// once wants each device to have one certificate, and no other valid one of its
// key.
func (c *chaos) once(kept store.Store, valid map[string]map[string]bool, revoked map[string]bool) {
	c.t.Helper()
	single := c.single
	if single == nil {
		single = func(_ store.Store, d *crashed, left map[string]bool) bool {
			return len(d.serials) == 1 && len(left) == 1
		}
	}
	for _, d := range c.devices {
		der, err := x509.MarshalPKIXPublicKey(d.key.Public())
		if err != nil {
			c.t.Fatal(err)
		}
		spki := sha256.Sum256(der)
		left := valid[hex.EncodeToString(spki[:])]
		maps.DeleteFunc(left, func(serial string, _ bool) bool { return revoked[serial] })
		if !single(kept, d, left) {
			c.counts.extra++
			c.t.Errorf("%s has got %v, and valid are %v", d.name, d.serials, left)
		}
	}
}

// inventory counts what is in the store, and has it checked.
func (c *chaos) inventory(kept store.Store) {
	c.t.Helper()
	for before := ""; ; {
		page, err := kept.Certificates().List(c.t.Context(), store.CertificateQuery{Before: before})
		if err != nil {
			c.t.Fatal(err)
		}
		for _, entry := range page {
			switch entry.State {
			case store.CertificateIssued:
				c.counts.kept++
			case store.CertificateWithheld:
				c.counts.withheld++
			case store.CertificateUnknown:
				c.counts.unknown++
			default:
				c.counts.lost++
				c.t.Errorf("the entry %s is %s", entry.ID, entry.State)
			}
			before = entry.ID
		}
		if len(page) == 0 {
			break
		}
	}
	if problems, err := kept.Upkeep().Check(c.t.Context()); err != nil || len(problems.Problems) > 0 {
		c.counts.lost++
		c.t.Errorf("the store: %q, %v", problems.Problems, err)
	}
}
