// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-est/estra/ra/store/storetest"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// clusterNode is a Caddy with the files of examples/cluster.
func clusterNode(t *testing.T, p *storetest.Postgres, ca *stepcatest.CA) *site {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("..", "examples", "cluster", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	c := config{
		site: strings.NewReplacer(
			"est.example.net {", "localhost:PORT {", "tls /etc/caddy/est/site.pem /etc/caddy/est/site.key", "tls internal",
			"https://ca.internal:9000", ca.URL, "/etc/caddy/est/step-root.pem", "root.pem", "/etc/caddy/est/est-ra.jwk", "est-ra.jwk",
			"provisioner est-ra", "provisioner "+stepcatest.JWKProvisioner, "{env.EST_DEPOT_HASH}", "HASH", "depot", user,
		).Replace(read("Caddyfile")),
		policy: strings.ReplaceAll(read("policy.yaml"), "depot", user),
		files:  map[string]string{"root.pem": string(ca.RootPEM()), "est-ra.jwk": string(ca.JWKJSON())},
	}
	s := prepare(t, c)
	s.env = []string{"EST_DB=" + string(p.DSN("postgres"))}
	s.run()
	return s
}

// moves gives a device's key and request to the same device at another node.
func (d *device) moves(t *testing.T, to *device, name string) {
	t.Helper()
	for _, suffix := range []string{"key", "der", "b64"} {
		sh(t, d.dir, fmt.Sprintf("cp %[1]s.%[2]s %[3]s/", name, suffix, to.dir))
	}
}

func TestTwoNodesOfTheExampleAreOneRA(t *testing.T) {
	t.Parallel()
	p, ca := newPostgres(t), stepcatest.Start(t, stepcatest.Options{CRL: true})
	a, b := clusterNode(t, p, ca), clusterNode(t, p, ca)
	atA, atB := newDevice(t, a), newDevice(t, b)

	// The answer of one node is lost, and the other gives the same certificate.
	atA.csr("one", "/CN=s1.sensors.example.net", "")
	first := atA.issued("sensors/simpleenroll", "one", basicOption)
	atA.moves(t, atB, "one")
	again := atB.issued("sensors/simpleenroll", "one", basicOption)
	if first.Cert == nil || again.Cert == nil || first.Cert.SHA256 != again.Cert.SHA256 {
		t.Errorf("first %+v, again %+v", first.Cert, again.Cert)
	}

	// A password that was made at one is used at the other, once.
	ids, secrets := passwordsOf(t, a.otp("create", "--label", "sensors", "-n", "1", "--csv"))
	atB.csr("two", "/CN=s2.sensors.example.net", "")
	atB.issued("sensors/simpleenroll", "two", "--user :"+secrets[0])
	atA.csr("two", "/CN=s2.sensors.example.net", "")
	if got := atA.ask("sensors/simpleenroll", "two", "--user :"+secrets[0]); got.status != 403 {
		t.Errorf("the password %s with another key: %d", ids[0], got.status)
	}

	// What waits at one is approved at the other, and fetched when the first is gone.
	atA.csr("three", "/CN=g1.gateways.example.net", "")
	atA.moves(t, atB, "three")
	if got := atA.ask("gateways/simpleenroll", "three", basicOption); got.status != 202 {
		t.Fatalf("%d %s", got.status, got.body)
	}
	b.pending(0, "approve", b.waiting().ID, "--as", "anna")

	// Each node lists what all have, and one revokes what another has issued.
	if atOne, atOther := a.est(0, "certs", "list", "--address", a.admin), b.est(0, "certs", "list", "--address", b.admin); atOne != atOther || strings.Count(atOne, "sensors.example.net") != 2 {
		t.Errorf("the nodes list\n%s\nand\n%s", atOne, atOther)
	}
	b.est(0, "certs", "revoke", "--as", "anna", "--reason", "keyCompromise", first.Serial, "--address", b.admin)
	atA.csr("next", "/CN=s1.sensors.example.net", "")
	if got := atA.ask("sensors/simplereenroll", "next", "--cert one.pem --key one.key"); got.status != 403 {
		t.Errorf("revoked at the other node, and renewed: %d %s", got.status, got.body)
	}

	if err := a.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	atB.issued("gateways/simpleenroll", "three", basicOption)
	out := b.est(0, "certs", "list", "--doubtful", "--format", "csv", "--address", b.admin)
	if strings.Count(out, "\n") != 1 {
		t.Errorf("something is doubtful: %s", out)
	}
	// Each has a chain of its own, also one that was killed.
	for _, s := range []*site{a, b} {
		folder := filepath.Join(s.dir, "data", "caddy", "est", "audit")
		if out := s.est(0, "audit", "verify", folder); !regexp.MustCompile(`(?i)records`).MatchString(out) {
			t.Error(out)
		}
	}
}
