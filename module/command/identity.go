// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
)

// identity reads the --who flags.
func identity(flags []string) (policy.Identity, error) {
	var who policy.Identity
	for _, text := range flags {
		kind, rest, _ := strings.Cut(text, ":")
		var err error
		switch kind {
		case "basic":
			err = addAccount(&who, "http_basic", rest)
		case "digest":
			err = addAccount(&who, "digest", rest)
		case "bearer":
			name, subject, _ := strings.Cut(rest, ":")
			if name == "" {
				err = fmt.Errorf("want bearer:NAME:SUBJECT")
			} else {
				err = addAccount(&who, policy.BearerMethod(name), subject)
			}
		case policy.SRPMethod:
			realm, user, _ := strings.Cut(rest, "/")
			if realm == "" || user == "" {
				err = fmt.Errorf("want srp:REALM/USER")
			} else {
				account := policy.SRPAccount(realm, user)
				err = addAccount(&who, account.Method, account.User)
			}
		case "provider":
			name, user, _ := strings.Cut(rest, ":")
			if name == "" {
				err = fmt.Errorf("want provider:NAME:USER")
			} else {
				err = addAccount(&who, name, user)
			}
		case "otp", policy.ViaChallenge, policy.ViaProof, policy.ViaProofV1:
			err = addPassword(&who, kind, rest)
		case "device":
			err = addDevice(&who, rest)
		case "inventory":
			if who.IssuedUnder = rest; rest == "" {
				err = fmt.Errorf("the profile is missing")
			}
		case "cert":
			err = addCertificate(&who, rest)
		default:
			err = fmt.Errorf("want basic:USER, digest:USER, bearer:NAME:SUBJECT, srp:REALM/USER, otp:ID, otp_challenge:ID, identity_proof:ID, identity_proof_v1:ID, provider:NAME:USER, cert:ANCHOR:FILE, inventory:PROFILE or device:REGISTRY:STATE:IDENTITY")
		}
		if err != nil {
			return policy.Identity{}, fmt.Errorf("--who %q: %w", text, err)
		}
	}
	return who, nil
}

func addAccount(who *policy.Identity, method, user string) error {
	if user == "" {
		return fmt.Errorf("the user is missing")
	}
	who.Accounts = append(who.Accounts, policy.Account{Method: method, User: user})
	return nil
}

// addPassword: what a password was made for stands in the store alone, so
// that here it is good for any name.
func addPassword(who *policy.Identity, kind, id string) error {
	if id == "" {
		return fmt.Errorf("the id of the password is missing")
	}
	via := kind
	if kind == "otp" {
		via = policy.ViaBasic
	}
	who.Passwords = append(who.Passwords, policy.OneTimePassword{ID: id, Via: via})
	return nil
}

func addDevice(who *policy.Identity, rest string) error {
	registry, rest, _ := strings.Cut(rest, ":")
	state, identity, _ := strings.Cut(rest, ":")
	switch policy.DeviceState(state) {
	case policy.Expected, policy.Enrolled, policy.Blocked:
	default:
		return fmt.Errorf("the state %q is none of expected, enrolled and blocked", state)
	}
	if registry == "" || identity == "" {
		return fmt.Errorf("want device:REGISTRY:STATE:IDENTITY")
	}
	device := policy.Device{Registry: registry, Identity: identity, State: policy.DeviceState(state)}
	who.Devices = append(who.Devices, device)
	return nil
}

func addCertificate(who *policy.Identity, rest string) error {
	anchor, file, _ := strings.Cut(rest, ":")
	if anchor == "" || file == "" {
		return fmt.Errorf("want cert:ANCHOR:FILE")
	}
	chain, err := readCertificates(file)
	if err != nil {
		return err
	}
	cert := chain[0]
	if who.Cert != nil && !who.Cert.Equal(cert) {
		return fmt.Errorf("a connection has one client certificate, and there is another already")
	}
	who.Cert = cert
	if slices.Contains(who.Anchors, anchor) {
		return nil
	}
	var end time.Time // not known
	if len(chain) > 1 {
		end = chain[len(chain)-1].NotAfter
	}
	who.Anchors, who.AnchorEnds = append(who.Anchors, anchor), append(who.AnchorEnds, end)
	return nil
}

// readCertificate reads the first certificate of a file.
func readCertificate(name string) (*x509.Certificate, error) {
	certs, err := readCertificates(name)
	if err != nil {
		return nil, err
	}
	return certs[0], nil
}

// readCertificates reads the certificates of a file, PEM or one in DER; at
// least one.
func readCertificates(name string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	der := data
	if block, _ := pem.Decode(data); block != nil {
		der = nil
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if block.Type == "CERTIFICATE" {
				der = append(der, block.Bytes...)
			}
		}
	}
	certs, err := x509.ParseCertificates(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s: there is no certificate in it", name)
	}
	return certs, nil
}

func certificatesPEM(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}
