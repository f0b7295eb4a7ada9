// SPDX-License-Identifier: Apache-2.0

package stepca_test

import (
	"crypto/x509"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/jose"
	"go.step.sm/crypto/x509util"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/stepca"
)

func TestProvisionerBlock(t *testing.T) {
	private := newJWK(t)
	data, err := stepca.Provisioner(stepca.ProvisionerOptions{Name: "est-ra", JWK: private, MaxDuration: 90 * 24 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var block struct {
		Type, Name string
		Key        map[string]string
		Claims     map[string]any
		Options    struct{ X509 map[string]string }
	}
	if err := json.Unmarshal(data, &block); err != nil {
		t.Fatal(err)
	}
	if block.Type != "JWK" || block.Name != "est-ra" || block.Key["kid"] != private.KeyID {
		t.Errorf("the block is %s", data)
	}
	if block.Key["d"] != "" || strings.Contains(string(data), "encryptedKey") {
		t.Error("the block has the private key")
	}
	if block.Claims["maxTLSCertDuration"] != "2160h0m0s" || block.Claims["disableRenewal"] != true || len(block.Claims) != 2 {
		t.Errorf("claims are %v", block.Claims)
	}
	if block.Options.X509["template"] != stepca.Template() {
		t.Error("the template isn't in the block")
	}
	if err := x509util.ValidateTemplate([]byte(stepca.Template())); err != nil {
		t.Error(err)
	}
}

// step-ca refuses to start when a default lies beyond the longest lifetime.
func TestShortLifetimesLowerTheOtherLimits(t *testing.T) {
	data, err := stepca.Provisioner(stepca.ProvisionerOptions{
		Name: "x", Roots: []*x509.Certificate{ratest.NewRoot(t, "RA Root").Certificate},
		MaxDuration: 2 * time.Minute, TemplateFile: "templates/estra.tpl",
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"type": "X5C"`, `"minTLSCertDuration": "2m0s"`, `"defaultTLSCertDuration": "2m0s"`,
		`"maxTLSCertDuration": "2m0s"`, `"templateFile": "templates/estra.tpl"`, `"roots": "`,
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s lacks %s", data, want)
		}
	}
	if strings.Contains(string(data), `"template":`) {
		t.Error("the template is in a file and in the block")
	}
}

func TestProvisionerCommand(t *testing.T) {
	key := newJWK(t)
	roots := []*x509.Certificate{ratest.NewRoot(t, "RA Root").Certificate}
	for _, c := range []struct {
		name       string
		options    stepca.ProvisionerOptions
		credential string
		want       string
	}{
		{
			"JWK", stepca.ProvisionerOptions{Name: "est-ra", JWK: key, MaxDuration: 90 * 24 * time.Hour, TemplateFile: "estra.tpl"}, "est-ra.pub.jwk",
			"step ca provisioner add est-ra --type JWK --public-key est-ra.pub.jwk --x509-template estra.tpl --x509-max-dur 2160h0m0s --disable-renewal",
		},
		{
			"X5C", stepca.ProvisionerOptions{Name: "the RA's $(own)", Roots: roots, MaxDuration: time.Hour, TemplateFile: "-x"}, "a b.pem",
			`step ca provisioner add 'the RA'\''s $(own)' --type X5C --x5c-roots 'a b.pem' --x509-template '-x' --x509-max-dur 1h0m0s --x509-default-dur 1h0m0s --disable-renewal`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := stepca.ProvisionerCommand(c.options, c.credential)
			if err != nil || got != c.want {
				t.Errorf("got %s, %v\nwant %s", got, err, c.want)
			}
			c.options.TemplateFile = ""
			if _, err := stepca.ProvisionerCommand(c.options, c.credential); err == nil {
				t.Error("a command without a template")
			}
		})
	}
}

func TestProvisionerOptionsAreChecked(t *testing.T) {
	key := newJWK(t)
	roots := []*x509.Certificate{ratest.NewRoot(t, "RA Root").Certificate}
	for name, o := range map[string]stepca.ProvisionerOptions{
		"no name":          {JWK: key, MaxDuration: time.Hour},
		"no lifetime":      {Name: "x", JWK: key},
		"no credential":    {Name: "x", MaxDuration: time.Hour},
		"two credentials":  {Name: "x", JWK: key, Roots: roots, MaxDuration: time.Hour},
		"an empty key":     {Name: "x", JWK: &jose.JSONWebKey{}, MaxDuration: time.Hour},
		"a nameless key":   {Name: "x", JWK: &jose.JSONWebKey{Key: key.Key}, MaxDuration: time.Hour},
		"a symmetric key":  {Name: "x", JWK: &jose.JSONWebKey{Key: []byte("0123456789abcdef"), KeyID: "k"}, MaxDuration: time.Hour},
		"a negative limit": {Name: "x", JWK: key, MaxDuration: -time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			if data, err := stepca.Provisioner(o); err == nil {
				t.Errorf("got %s", data)
			}
			if line, err := stepca.ProvisionerCommand(o, "file"); err == nil {
				t.Errorf("got %s", line)
			}
		})
	}
}
