// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"bytes"
	"crypto/x509"
	_ "embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.step.sm/crypto/jose"
)

//go:embed template.tpl
var template string

// Template is the X.509 template of the provisioner, of either kind, as a
// file for step-ca.
func Template() string { return template }

// ProvisionerOptions describe a provisioner for [Provisioner] and
// [ProvisionerCommand]. Exactly one of JWK and Roots is set.
type ProvisionerOptions struct {
	Name string
	// JWK makes a JWK provisioner. The public part alone is used.
	JWK *jose.JSONWebKey
	// Roots makes an X5C provisioner that takes RA certificates under these.
	Roots []*x509.Certificate
	// MaxDuration is the longest lifetime that the policy can plan.
	MaxDuration time.Duration
	// TemplateFile is where step-ca finds the template; empty writes the
	// template into the block.
	TemplateFile string
}

func (o ProvisionerOptions) check() error {
	switch {
	case o.Name == "":
		return errors.New("step_ca: the provisioner needs a name")
	case o.MaxDuration < time.Second:
		return fmt.Errorf("step_ca: a longest lifetime of %s makes no sense", o.MaxDuration)
	case (o.JWK == nil) == (len(o.Roots) == 0):
		return errors.New("step_ca: the provisioner needs either a JWK or roots")
	case o.JWK != nil && !o.JWK.Valid():
		return errors.New("step_ca: the JWK isn't a valid key")
	case o.JWK != nil && o.JWK.Public().Key == nil:
		return errors.New("step_ca: the JWK has no public part")
	case o.JWK != nil && o.JWK.KeyID == "":
		return errors.New("step_ca: the JWK has no kid")
	}
	return nil
}

// provisioner is an entry of authority.provisioners in ca.json. There is no
// encryptedKey: step-ca would publish it, and the RA alone holds the key.
type provisioner struct {
	Type    string            `json:"type"`
	Name    string            `json:"name"`
	Key     *jose.JSONWebKey  `json:"key,omitempty"`
	Roots   []byte            `json:"roots,omitempty"` // PEM
	Claims  provisionerClaims `json:"claims"`
	Options templateOptions   `json:"options"`
}

type provisionerClaims struct {
	Min string `json:"minTLSCertDuration,omitempty"`
	Max string `json:"maxTLSCertDuration"`
	// Default must lie between the two; nothing is issued by it.
	Default string `json:"defaultTLSCertDuration,omitempty"`
	// DisableRenewal: a certificate is renewed by a reenroll, which the
	// policy decides, not at step-ca's own /renew.
	DisableRenewal bool `json:"disableRenewal"`
}

type templateOptions struct {
	X509 x509Options `json:"x509"`
}

type x509Options struct {
	Template     string `json:"template,omitempty"`
	TemplateFile string `json:"templateFile,omitempty"`
}

// step-ca's own limits where a provisioner says nothing.
const (
	stepMin     = 5 * time.Minute
	stepDefault = 24 * time.Hour
)

// Provisioner is the block for `authority.provisioners` in ca.json.
func Provisioner(o ProvisionerOptions) ([]byte, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	p := provisioner{Type: "JWK", Name: o.Name}
	p.Claims = provisionerClaims{Max: o.MaxDuration.String(), DisableRenewal: true}
	if o.MaxDuration < stepDefault {
		p.Claims.Default = p.Claims.Max
	}
	if o.MaxDuration < stepMin {
		p.Claims.Min = p.Claims.Max
	}
	p.Options.X509.TemplateFile = o.TemplateFile
	if o.TemplateFile == "" {
		p.Options.X509.Template = template
	}
	if o.JWK != nil {
		public := o.JWK.Public()
		p.Key = &public
	} else {
		p.Type = "X5C"
		for _, c := range o.Roots {
			p.Roots = append(p.Roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
		}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(p); err != nil {
		return nil, errors.New("step_ca: the provisioner can't be written as JSON")
	}
	return out.Bytes(), nil
}

// ProvisionerCommand is the line that adds the same provisioner with the step
// CLI. credential names the file with the public JWK, or with the roots;
// TemplateFile must be set.
func ProvisionerCommand(o ProvisionerOptions, credential string) (string, error) {
	if err := o.check(); err != nil {
		return "", err
	}
	if o.TemplateFile == "" || credential == "" {
		return "", errors.New("step_ca: the command needs the template and the public key or roots in files")
	}
	kind, flag := "JWK", "--public-key"
	if o.JWK == nil {
		kind, flag = "X5C", "--x5c-roots"
	}
	words := []string{
		"step", "ca", "provisioner", "add", shell(o.Name), "--type", kind,
		flag, shell(credential), "--x509-template", shell(o.TemplateFile),
		"--x509-max-dur", o.MaxDuration.String(),
	}
	if o.MaxDuration < stepDefault {
		words = append(words, "--x509-default-dur", o.MaxDuration.String())
	}
	if o.MaxDuration < stepMin {
		words = append(words, "--x509-min-dur", o.MaxDuration.String())
	}
	return strings.Join(append(words, "--disable-renewal"), " "), nil
}

// shell quotes a word for a POSIX shell where that is needed.
func shell(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./@", r)
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) && s[0] != '-' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
