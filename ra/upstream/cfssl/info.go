// SPDX-License-Identifier: Apache-2.0

package cfssl

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// info is what CFSSL says of a signer and a profile.
type info struct {
	signer  *x509.Certificate
	usages  []string
	expiry  time.Duration // 0: not known, such as with a fixed not_after
	keyUse  x509.KeyUsage
	purpose []string // dotted, sorted
}

// keyUsages are CFSSL's words (package config). The second spelling is that of
// 1.2.
var keyUsages = map[string]x509.KeyUsage{
	"signing":             x509.KeyUsageDigitalSignature,
	"digital signature":   x509.KeyUsageDigitalSignature,
	"content commitment":  x509.KeyUsageContentCommitment,
	"content committment": x509.KeyUsageContentCommitment,
	"key encipherment":    x509.KeyUsageKeyEncipherment,
	"key agreement":       x509.KeyUsageKeyAgreement,
	"data encipherment":   x509.KeyUsageDataEncipherment,
	"cert sign":           x509.KeyUsageCertSign,
	"crl sign":            x509.KeyUsageCRLSign,
	"encipher only":       x509.KeyUsageEncipherOnly,
	"decipher only":       x509.KeyUsageDecipherOnly,
}

// extKeyUsages are its words for purposes (RFC 5280 section 4.2.1.12, RFC 4945
// section 5.1.3.12, and two of vendors).
var extKeyUsages = []struct{ word, oid string }{
	{"any", "2.5.29.37.0"},
	{"server auth", "1.3.6.1.5.5.7.3.1"},
	{"client auth", "1.3.6.1.5.5.7.3.2"},
	{"code signing", "1.3.6.1.5.5.7.3.3"},
	{"email protection", "1.3.6.1.5.5.7.3.4"},
	{"s/mime", "1.3.6.1.5.5.7.3.4"},
	{"ipsec end system", "1.3.6.1.5.5.7.3.5"},
	{"ipsec tunnel", "1.3.6.1.5.5.7.3.6"},
	{"ipsec user", "1.3.6.1.5.5.7.3.7"},
	{"timestamping", "1.3.6.1.5.5.7.3.8"},
	{"ocsp signing", "1.3.6.1.5.5.7.3.9"},
	{"microsoft sgc", "1.3.6.1.4.1.311.10.3.3"},
	{"netscape sgc", "2.16.840.1.113730.4.1"},
}

// readInfo reads the result of /info. A word that isn't known is none, as it is
// to CFSSL.
func readInfo(result json.RawMessage) (*info, error) {
	var r struct {
		Usages []string `json:"usages"`
		Expiry string   `json:"expiry"`
	}
	text, err := certificateIn(result)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(result, &r); err != nil {
		return nil, fmt.Errorf("usages or an expiry of another kind")
	}
	certs, err := upstream.Certificates(text)
	if err != nil {
		return nil, err
	}
	i := &info{signer: certs[0], usages: r.Usages}
	if d, err := time.ParseDuration(r.Expiry); err == nil && d > 0 {
		i.expiry = d
	}
	for _, word := range r.Usages {
		i.keyUse |= keyUsages[word]
		for _, u := range extKeyUsages {
			if u.word == word {
				i.purpose = append(i.purpose, u.oid)
			}
		}
	}
	slices.Sort(i.purpose)
	i.purpose = slices.Compact(i.purpose)
	return i, nil
}

// infoCall asks about the signer and the profile.
func infoCall(cfg Config) (upstream.Call, error) {
	body, err := json.Marshal(infoRequest{Label: cfg.Label, Profile: cfg.Profile})
	call := post(infoPath, body)
	call.Type, call.Reads = "application/json", true
	return call, err
}

// askInfo asks /info, and keeps what it says.
func (u *Upstream) askInfo(ctx context.Context) (*info, error) {
	call, err := infoCall(u.cfg)
	if err != nil {
		return nil, ra.Fail(ra.UpstreamDown, "the request can't be made", nil)
	}
	result, err := u.ask(ctx, call)
	if err != nil {
		return nil, err
	}
	read, err := readInfo(result)
	if err != nil {
		return nil, u.client.Unreadable(false, "an answer to /info with "+err.Error(), nil)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known = read
	return read, nil
}

// fits holds a plan against CFSSL's profile: what would be issued with other
// usages, or for longer, would be withheld and have to be revoked. What is known
// of the profile may be of before a change, so a refusal is asked for again.
func (u *Upstream) fits(ctx context.Context, o ra.Order) error {
	u.mu.Lock()
	known := u.known
	u.mu.Unlock()
	if known != nil && known.misfit(o, u.cfg.Backdate) == "" {
		return nil
	}
	known, err := u.askInfo(ctx)
	if err != nil {
		return err
	}
	if why := known.misfit(o, u.cfg.Backdate); why != "" {
		return ra.Fail(ra.UpstreamRefused, fmt.Sprintf("the profile %q of CFSSL %s", u.cfg.Profile, why), nil)
	}
	return nil
}

// misfit says what of a plan the profile doesn't do; "" for nothing.
func (i *info) misfit(o ra.Order, backdate time.Duration) string {
	plan := o.Plan()
	var wanted []string
	for _, oid := range plan.ExtKeyUsage {
		wanted = append(wanted, oid.String())
	}
	slices.Sort(wanted)
	if plan.KeyUsage != i.keyUse || !slices.Equal(slices.Compact(wanted), i.purpose) {
		return fmt.Sprintf("gives the usages %s, and the policy plans others", quoted(i.usages))
	}
	// CFSSL counts from its notBefore, which is rounded to a minute.
	least := i.expiry - backdate - 30*time.Second
	if planned := o.NotAfter().Sub(o.NotBefore()) + time.Second; least > planned {
		return fmt.Sprintf("issues for %s, and the policy plans %s: CFSSL can't be told when a certificate ends", i.expiry, planned)
	}
	return ""
}

func quoted(words []string) string {
	if len(words) == 0 {
		return "(none)"
	}
	return upstream.Line(strings.Join(words, ", "))
}
