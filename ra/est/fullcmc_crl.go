// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"crypto/x509"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
)

// getCRLs answers getCRL (RFC 5272 section 6.10) with the CRL of the CA as it is
// now. The CA is asked for it, so that it is for those alone whom a line of
// `who` lets in.
func (x *exchange) getCRLs() {
	replies := &x.cmc.replies
	for i, c := range x.cmc.data.Controls.All(cmc.OIDGetCRL) {
		crl, fail := []byte(nil), ra.Fail(ra.Malformed, "getCRL twice in a message", nil)
		if i == 0 { // the CA is asked once
			crl, fail = x.crl(c)
		}
		if fail != nil {
			replies.refuse(c.ID, fail, " ("+x.id+")")
			continue
		}
		replies.crls = append(replies.crls, crl)
		replies.statuses = append(replies.statuses, cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(c.ID)})
		replies.granted++
		replies.full = true
	}
}

func (x *exchange) crl(c cmc.Control) ([]byte, *ra.Error) {
	value, err := c.Value()
	if err != nil {
		return nil, cmcFailure("getCRL", err)
	}
	asked, err := cmc.ParseGetCRL(value)
	if err != nil {
		return nil, cmcFailure("getCRL", err)
	}
	switch {
	case !x.arrival().Gate(x.profile).Open:
		return nil, x.shutOwn()
	case !asked.Time.IsZero() || asked.Reasons != nil || asked.Name != nil:
		return nil, ra.Fail(ra.Malformed, "getCRL for another CRL than the newest, complete one", nil)
	}
	ca := x.s.Authority.CAs[x.profile.Upstream()]
	if ca == nil {
		return nil, ra.Fail(ra.Fault, "no upstream "+x.profile.Upstream(), nil)
	}
	source, ok := ca.Upstream.(ra.CRLSource)
	if !ok {
		return nil, ra.Fail(ra.OperationOff, "upstream "+ca.Name+" gives no CRL", nil)
	}
	der, err := source.CRL(x.r.Context())
	if err != nil {
		return nil, asFailure(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, ra.Fail(ra.UpstreamRefused, "upstream "+ca.Name+": its CRL can't be read", err)
	}
	if !bytes.Equal(list.RawIssuer, asked.Issuer) {
		return nil, ra.Fail(ra.NoCertificate, "getCRL: the CA has no CRL of this issuer", nil)
	}
	return der, nil
}
