// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

func init() {
	caddy.RegisterModule(anybody{})
}

// anybody authenticates whoever asks, at no cost: against it is measured what
// verifying a client certificate costs.
type anybody struct{}

// CaddyModule returns the Caddy module information.
func (anybody) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.authentication.providers.bench_anybody", New: func() caddy.Module { return new(anybody) }}
}

// UnmarshalCaddyfile takes no argument.
func (*anybody) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		if d.NextArg() {
			return d.ArgErr()
		}
	}
	return nil
}

// Authenticate implements caddyauth.Authenticator.
func (anybody) Authenticate(http.ResponseWriter, *http.Request) (caddyauth.User, bool, error) {
	return caddyauth.User{ID: "anybody"}, true, nil
}

// The lists of the devices' root and of their intermediate, in the load's
// folder, and how many serial numbers each has.
const (
	rootListFile  = "root.crl"
	deviceList    = "devices.crl"
	listedSerials = 1000
)

const (
	anchorLines = "\t\tanchors {\n\t\t\tbench ANCHOR\n\t\t}\n"
	verifiedBy  = `client_cert: {anchor: bench, subject: {O: "Example Devices"}}`
	knownByNone = `provider: {name: anybody}`
)

// anybodySite has no anchor for the devices' certificates, and revocationSite
// asks the lists about them.
var (
	anybodySite    = strings.Replace(estSite, anchorLines, "\t\tprovider anybody bench_anybody\n", 1)
	revocationSite = strings.Replace(estSite, "bench ANCHOR", "bench ANCHOR {\n\t\t\t\tcrl ROOT_LIST DEVICE_LIST\n\t\t\t}", 1)
)

// policyOf is the policy of a site.
func policyOf(site string) string {
	text := policyFile
	if site == anybodySite {
		text = strings.Replace(text, verifiedBy, knownByNone, 1)
	}
	if site == srpSite {
		text = strings.Replace(text, "        - "+verifiedBy, "        - srp: {realm: "+srpRealm+"}\n        - "+verifiedBy, 1)
	}
	return labelled(text)
}

// writeList leaves the list of a CA.
func (p pair) writeList(file string) error {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().AddDate(0, 0, 1)}
	for range listedSerials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: newSerial(), RevocationTime: list.ThisUpdate})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, p.cert, p.key)
	if err != nil {
		return err
	}
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), 0o600)
}

// revocation measures what it costs to verify the client's chain of three, with
// a list asked about each certificate below the root: against the same devices,
// who present the same chain to a server that doesn't look at it.
func (b *bench) revocation(ctx context.Context) error {
	blind, err := b.keep(startCaddy(ctx, b.folder("estra"), anybodySite, b.anchor(), nil))
	if err != nil {
		return err
	}
	asking, err := b.keep(startCaddy(ctx, b.folder("estra"), revocationSite, b.anchor(), nil))
	if err != nil {
		return err
	}
	base := b.table.row("Estra, embedded CA, client certificates not looked at, a new TLS connection for each", nil, 0)
	row := b.table.row("the same, the chain verified and two lists asked", base, 0)
	row.mostCPU = 1.15
	return b.race(ctx, "revocation", []lane{
		{row: base, server: blind, job: job{Kind: "enrol", New: true}},
		{row: row, server: asking, job: job{Kind: "enrol", New: true}},
	})
}
