// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/sha256"
	"crypto/x509"
	"math/big"
	"slices"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
)

// findAnchors finds the roots that the answer will publish, where the profile
// says so. It comes before anything is issued: what was granted isn't lost by it.
func (x *exchange) findAnchors() *ra.Error {
	if !x.profile.PublishesAnchors() {
		return nil
	}
	ca := x.s.Authority.CAs[x.profile.Upstream()]
	if ca == nil {
		return ra.Fail(ra.Fault, "no upstream "+x.profile.Upstream(), nil)
	}
	roots, err := ca.Roots(x.r.Context())
	if err != nil {
		return asFailure(err)
	}
	x.cmc.replies.anchors = roots
	return nil
}

// addAnchors publishes the roots, where something was granted. RFC 5272 section
// 6.15 recommends that they stand among the certificates of the message as well.
func (m *cmcReply) addAnchors(r *cmc.PKIResponse, now time.Time) error {
	if m.granted == 0 || len(m.anchors) == 0 {
		return nil
	}
	value, err := trustAnchors(m.anchors, now).Marshal()
	if err != nil {
		return err
	}
	addControl(r, cmc.OIDTrustedAnchors, value)
	for _, c := range m.anchors {
		if !slices.ContainsFunc(m.certificates, c.Equal) { // by getCert
			m.certificates = append(m.certificates, c)
		}
	}
	return nil
}

// trustAnchors is the value of publishTrustAnchors. The number is the time, so
// that it never falls, whichever root comes or goes, and is the same with all
// servers of one CA.
func trustAnchors(roots []*x509.Certificate, now time.Time) cmc.TrustAnchors {
	a := cmc.TrustAnchors{Sequence: big.NewInt(now.Unix()), Hash: cmc.OIDSHA256}
	for _, c := range roots {
		hash := sha256.Sum256(c.Raw)
		a.Hashes = append(a.Hashes, hash[:])
	}
	return a
}
