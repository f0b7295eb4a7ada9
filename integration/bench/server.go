// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// A server is what the load is sent to.
type server struct {
	*process
	site  string // host:port of TLS
	admin string // host:port of the forced collection
	roots string // PEM file, for the site's certificate
	audit string // the file of audit records; "" where there are none
	ca    int    // the pid of the step-ca behind it; 0 without one
}

func startBare(ctx context.Context, dir string) (*server, error) {
	p, err := child(ctx, "bare", dir)
	if err != nil {
		return nil, err
	}
	// Its input ends with this process, and so does it.
	if _, err := p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	var at addresses
	if err := json.NewDecoder(out).Decode(&at); err != nil {
		p.kill()
		return nil, p.failed(err)
	}
	return &server{process: p, site: at.Site, admin: at.Admin, roots: filepath.Join(dir, "root.pem")}, nil
}

//go:embed policy.yaml
var policyFile string

// global is the head of both Caddyfiles. Words in capitals are replaced.
const global = `{
	admin ADMIN
	http_port HTTP_PORT
	https_port HTTPS_PORT
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	metrics
	log default {
		output stderr
		exclude http.handlers.est.audit
	}
	log audit {
		output file audit.log {
			roll_disabled
		}
		format json
		include http.handlers.est.audit
	}
}
`

// emptySite asks for a client certificate and does nothing with the request.
const emptySite = `localhost {
	bind 127.0.0.1
	tls internal {
		client_auth {
			mode request
		}
	}
	respond 200
}
`

const estSite = `localhost {
	bind 127.0.0.1
	tls internal
	est {
		policy policy.yaml
		certificate off
		anchors {
			bench ANCHOR
		}
		basic {
			USER HASH
		}
UPSTREAM
	}
}
`

const stepCAUpstream = `		upstream step_ca URL {
			root step-root.pem
			provisioner PROVISIONER
			key est-ra.jwk
		}`

// The account of the row Basic.
const (
	basicUser     = "bench"
	basicPassword = "bench-4Kx9"
)

// startCaddy starts Caddy with one of the sites. With a CA, Estra asks that
// one; without, it has the embedded CA.
func startCaddy(ctx context.Context, dir, site, anchor string, ca *stepcatest.CA) (*server, error) {
	p, err := child(ctx, "caddy", dir, "run", "--config", "Caddyfile", "--adapter", "caddyfile")
	if err != nil {
		return nil, err
	}
	s := &server{process: p, roots: filepath.Join(dir, "data", "caddy", "pki", "authorities", "local", "root.crt")}
	words, err := s.words(anchor)
	if err != nil {
		return nil, err
	}
	files := map[string]string{"policy.yaml": policyOf(site)}
	if ca != nil {
		s.ca = ca.PID()
		files["step-root.pem"], files["est-ra.jwk"] = string(ca.RootPEM()), string(ca.JWKJSON())
		words = append(words, "UPSTREAM", stepCAUpstream, "URL", ca.URL, "PROVISIONER", stepcatest.JWKProvisioner)
	} else {
		words = append(words, "UPSTREAM", "")
	}
	text := global + site
	if site == srpSite {
		text = strings.Replace(global, "\tmetrics\n", "\tmetrics\n"+srpWrappers, 1) + site
	}
	for range 2 { // UPSTREAM brings words of its own
		text = strings.NewReplacer(words...).Replace(text)
	}
	files["Caddyfile"] = text
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	if site != emptySite {
		s.audit = filepath.Join(dir, "audit.log")
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	if err := p.await(ctx, s.up); err != nil {
		p.kill()
		return nil, err
	}
	return s, nil
}

// words finds ports, and fills what both Caddyfiles need.
func (s *server) words(anchor string) ([]string, error) {
	var addresses [3]string
	for i := range addresses {
		var err error
		if addresses[i], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	s.site, s.admin = addresses[0], addresses[1]
	port := func(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
	return []string{
		"HTTPS_PORT", port(s.site), "HTTP_PORT", port(addresses[2]), "ADMIN", s.admin,
		"ROOT_LIST", filepath.Join(filepath.Dir(anchor), rootListFile), "DEVICE_LIST", filepath.Join(filepath.Dir(anchor), deviceList),
		"ANCHOR", anchor, "USER", basicUser, "HASH", argon2id(basicPassword),
	}, nil
}

// argon2id hashes at the cost that `caddy hash-password` takes by itself.
func argon2id(password string) string {
	const passes, kib, threads, length = 1, 46 << 10, 1, 32
	salt := []byte("0123456789abcdef")
	sum := argon2.IDKey([]byte(password), salt, passes, kib, threads, length)
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, kib, passes, threads, encode(salt), encode(sum))
}

// up says whether the site answers a handshake with its certificate, which
// Caddy obtains after it has started, and Estra is ready.
func (s *server) up() error {
	roots, err := poolOf(s.roots)
	if err != nil {
		return err
	}
	c, err := tls.Dial("tcp", s.site, &tls.Config{RootCAs: roots, ServerName: "localhost"})
	if err != nil {
		return err
	}
	c.Close()
	if s.audit == "" {
		return nil
	}
	_, err = s.ask("/est/ready")
	return err
}

// ask gets a page of the admin address.
func (s *server) ask(page string) ([]byte, error) {
	response, err := http.Get("http://" + s.admin + page)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.200s", page, response.Status, body)
	}
	return body, err
}

// settledSize is the RSS after forced collections: several, since what a
// sync.Pool holds goes with the second, and memory goes back to the system
// with time.
func (s *server) settledSize(settle time.Duration) (int64, error) {
	for range 5 {
		if _, err := s.ask("/debug/pprof/heap?gc=1"); err != nil {
			return 0, err
		}
		time.Sleep(settle)
	}
	return residentSize(s.pid())
}
