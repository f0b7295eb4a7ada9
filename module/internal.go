// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddypki"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/status"
)

func init() {
	caddy.RegisterModule(&Internal{})
}

const (
	// ownCA is the CA in Caddy's pki app that is used when none is named.
	ownCA = "est"
	// ownRatio is the share of an intermediate's life that is left when it
	// is renewed: a device certificate must fit into it.
	ownRatio = 0.5
	// ownLifetime is the least lifetime of an intermediate of our own CA.
	ownLifetime = 3 * 365 * 24 * time.Hour
)

// Internal is the upstream `internal`: a CA of Caddy's own `pki` app. It is
// the default, with the CA "est", which is made when the configuration has
// none of that name. Its root is never installed on this machine.
type Internal struct {
	// The id of the CA in the pki app. Default: est.
	CA string `json:"ca,omitempty"`
	// "off": this CA revokes nothing, has no CRL and no OCSP, and keeps nothing in
	// the store.
	Revocation string `json:"revocation,omitempty"`
	// The address that certificates have of CRL and OCSP: http, a host, and no
	// path. Default: that of a site with plain http that has est_revocation. "off",
	// or without such a site: certificates name neither.
	Publish string `json:"publish,omitempty"`
	// How long a CRL counts. Default: 7d.
	CRLLifetime caddy.Duration `json:"crl_lifetime,omitempty"`

	ctx caddy.Context
	log *zap.Logger
	app *App
	pki *caddypki.PKI

	status *status.CA // nil: with revocation off
	keys   *issuingKeys
}

// CaddyModule returns the Caddy module information.
func (*Internal) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.internal", New: func() caddy.Module { return new(Internal) }}
}

// UnmarshalCaddyfile reads:
//
//	upstream [NAME] internal [CA] {
//		publish ADDRESS | off
//		crl_lifetime DURATION
//		revocation off
//	}
func (u *Internal) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		u.CA = d.Val()
	}
	if d.NextArg() {
		return d.Errf("internal takes at most one CA; %q is too much", d.Val())
	}
	return upstreamBlock{Dispenser: d, module: "internal"}.each(u.option)
}

func (u *Internal) option(b upstreamBlock) (err error) {
	switch b.Val() {
	case "publish":
		err = b.value("ADDRESS", &u.Publish)
	case "crl_lifetime":
		err = b.duration("7d", &u.CRLLifetime)
	case "revocation":
		err = b.value("off", &u.Revocation)
	default:
		return b.Errf("internal: unknown option %q; there are publish, crl_lifetime and revocation", b.Val())
	}
	if err != nil {
		return err
	}
	if err := u.checkStatus(); err != nil {
		return b.WrapErr(err)
	}
	return nil
}

// Provision finds the CA, or puts it into the pki app.
func (u *Internal) Provision(ctx caddy.Context) error {
	u.ctx, u.log = ctx, ctx.Logger()
	if u.CA == "" {
		u.CA = ownCA
	}
	_, err := ctx.AppIfConfigured("pki")
	brought := err != nil
	own, err := ctx.App("est")
	if err != nil {
		return fmt.Errorf("getting est app: %w", err)
	}
	u.app = own.(*App)
	app, err := ctx.App("pki")
	if err != nil {
		return fmt.Errorf("getting pki app: %w", err)
	}
	u.pki = app.(*caddypki.PKI)
	if err := u.provisionStatus(); err != nil {
		return err
	}
	if brought {
		// Nobody but us wants the pki app: its default CA must not install
		// its root on this machine when the app starts.
		keepToItself(u.pki.CAs[caddypki.DefaultCAID])
	}
	if u.ca() != nil {
		return nil
	}
	if u.CA != ownCA {
		return fmt.Errorf("the pki app has no CA %q: write it in the global options, `pki { ca %s { … } }`", u.CA, u.CA)
	}
	return u.make(ownLifetime)
}

// oidSubjectAltName is id-ce-subjectAltName (RFC 5280 section 4.2.1.6).
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// ca is looked up each time: another site's policy may have had it made anew,
// for longer, and Caddy renews the one that is in the pki app.
func (u *Internal) ca() *caddypki.CA { return u.pki.CAs[u.CA] }

// made says whether the CA is one that make put there. The lifetime of any
// other is its operator's.
func (u *Internal) made() bool { return u.ca() == u.app.madeCA }

func keepToItself(ca *caddypki.CA) {
	if ca != nil && ca.InstallTrust == nil {
		no := false
		ca.InstallTrust = &no
	}
}

// make puts our own CA into the pki app.
func (u *Internal) make(lifetime time.Duration) error {
	no := false
	ca := &caddypki.CA{
		Name:                   "Estra",
		RootCommonName:         "Estra Root {time.now.year}",
		IntermediateCommonName: "Estra Issuing CA",
		IntermediateLifetime:   caddy.Duration(lifetime),
		RenewalWindowRatio:     ownRatio,
		InstallTrust:           &no,
	}
	if err := ca.Provision(u.ctx, ownCA, u.log); err != nil {
		return fmt.Errorf("making the CA %q: %w", ownCA, err)
	}
	u.pki.CAs[ownCA] = ca
	u.app.madeCA = ca
	return nil
}

// Needs makes sure that certificates of this validity fit into the issuing
// certificate's life, up to its renewal.
func (u *Internal) Needs(validity time.Duration) error {
	ca := u.ca()
	if _, err := u.issuing(u.ctx); err != nil {
		return err
	}
	if ca.Intermediate != nil {
		return nil // a given certificate: its remaining life is checked at issue
	}
	need := time.Duration(float64(validity) / ca.RenewalWindowRatio)
	configured := time.Duration(ca.IntermediateLifetime)
	if !u.made() {
		if configured < need {
			return fmt.Errorf("the policy issues for up to %s, and the CA %q renews its intermediate when %.0f %% of %s are left: write `intermediate_lifetime %dd` in its `pki` block",
				days(validity), u.CA, ca.RenewalWindowRatio*100, days(configured), int(need/(24*time.Hour))+1)
		}
		return nil
	}
	if configured < need {
		if err := u.make(need + 24*time.Hour); err != nil {
			return err
		}
	}
	chain := u.ca().IntermediateCertificateChain()
	if len(chain) > 0 && chain[0].NotAfter.Sub(chain[0].NotBefore) < need {
		return u.replaceIntermediate()
	}
	return nil
}

// replaceIntermediate drops a stored intermediate that is too short for the
// policy, and makes a new one.
func (u *Internal) replaceIntermediate() error {
	u.log.Warn("the stored intermediate is too short for the policy and is replaced", zap.String("ca", u.CA))
	for _, end := range []string{".crt", ".key"} {
		key := "pki/authorities/" + u.CA + "/intermediate" + end
		if err := u.ctx.Storage().Delete(u.ctx, key); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("replacing the intermediate: %w", err)
		}
	}
	if err := u.make(time.Duration(u.ca().IntermediateLifetime)); err != nil {
		return err
	}
	_, err := u.issuing(u.ctx)
	return err
}

func days(d time.Duration) string { return fmt.Sprintf("%dd", int(d/(24*time.Hour))) }

// Identity is the CA's id in the pki app.
func (u *Internal) Identity() string { return "internal " + u.CA }

// Pins returns the CA's root: it is ours, in this very process.
func (u *Internal) Pins() []*x509.Certificate {
	return []*x509.Certificate{u.ca().RootCertificate()}
}

// CRLEnabled says that the CA revokes.
func (u *Internal) CRLEnabled() bool { return u.Revocation != off }

// Expiries is empty: this CA needs no credential.
func (*Internal) Expiries() map[string]time.Time { return nil }

// CACerts returns the root and the intermediates.
func (u *Internal) CACerts(context.Context) ([]*x509.Certificate, error) {
	certs := []*x509.Certificate{u.ca().RootCertificate()}
	for _, c := range u.ca().IntermediateCertificateChain() {
		if !slices.ContainsFunc(certs, c.Equal) {
			certs = append(certs, c)
		}
	}
	return certs, nil
}

// Carries says that all of a plan can be expressed.
func (u *Internal) Carries() policy.Capabilities {
	return policy.Capabilities{Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true, Extensions: true, Serial: true}
}

// Tolerates what publish adds, and nothing beyond what every CA adds.
func (u *Internal) Tolerates() ra.Tolerated {
	if u.base() == "" {
		return ra.Tolerated{}
	}
	return ra.Tolerated{Extensions: []string{
		"2.5.29.31",         // cRLDistributionPoints
		"1.3.6.1.5.5.7.1.1", // authorityInfoAccess
	}}
}

// Issue signs with the intermediate's key, which is read anew each time:
// Caddy renews it while we run.
func (u *Internal) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if !o.Valid() {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "this is no order of an authority", nil)
	}
	if err := ctx.Err(); err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamDown, "nobody waits for the certificate any more", err)
	}
	key, err := u.issuing(ctx)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamDown, "nothing is issued", err)
	}
	issuer := key.Certificate
	if o.NotAfter().After(issuer.NotAfter) {
		// Never clamped in silence.
		return ra.Issued{}, ra.Fail(ra.UpstreamDown, fmt.Sprintf(
			"the issuing certificate ends at %s, before the certificate asked for (%s)",
			issuer.NotAfter.Format(time.RFC3339), o.NotAfter().Format(time.RFC3339)), nil)
	}
	tmpl, err := template(o)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.Fault, "encoding the plan", err)
	}
	u.point(key, tmpl)
	issued, err := ra.Sign(tmpl, issuer, o.CSR().Key.Public, key.Signer)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "signing", err)
	}
	if u.status != nil {
		issued.Issuer = key.ID()
	}
	return issued, nil
}

// point writes into the certificate where its status is.
func (u *Internal) point(key status.Key, tmpl *x509.Certificate) {
	if u.status == nil {
		return
	}
	if base := u.base(); base != "" {
		list, responder := u.status.URLs(base, key)
		tmpl.CRLDistributionPoints, tmpl.OCSPServer = []string{list}, []string{responder}
	}
}

// template turns an order into what crypto/x509 signs.
func template(o ra.Order) (*x509.Certificate, error) {
	plan := o.Plan()
	subject, err := plan.Names.Subject.MarshalDER()
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber:          o.Serial(),
		RawSubject:            subject,
		NotBefore:             o.NotBefore(),
		NotAfter:              o.NotAfter(),
		KeyUsage:              plan.KeyUsage,
		BasicConstraintsValid: true,
	}
	tmpl.UnknownExtKeyUsage = append(tmpl.UnknownExtKeyUsage, plan.ExtKeyUsage...)
	if len(plan.Names.SAN) > 0 {
		value, err := csr.MarshalSAN(plan.Names.SAN)
		if err != nil {
			return nil, err
		}
		tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{
			Id: oidSubjectAltName, Critical: plan.SANCritical, Value: value,
		})
	}
	for _, e := range plan.Extensions {
		tmpl.ExtraExtensions = append(tmpl.ExtraExtensions, pkix.Extension{Id: e.ID, Critical: e.Critical, Value: e.Value})
	}
	return tmpl, nil
}

var (
	_ Upstream              = (*Internal)(nil)
	_ caddy.Provisioner     = (*Internal)(nil)
	_ caddyfile.Unmarshaler = (*Internal)(nil)
)
