// SPDX-License-Identifier: Apache-2.0

package crl

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	tags "golang.org/x/crypto/cryptobyte/asn1"
)

// RFC 5280 sections 5.2 and 5.3; the last is of ITU-T X.509 alone.
var (
	oidReasonCode        = asn1.ObjectIdentifier{2, 5, 29, 21}
	oidDeltaIndicator    = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidIssuingPoint      = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidCertificateIssuer = asn1.ObjectIdentifier{2, 5, 29, 29}
	oidExpiredCerts      = asn1.ObjectIdentifier{2, 5, 29, 60}
)

// readExtensions takes what the list says of itself, and refuses a list that
// can't speak of every end entity.
func (l *List) readExtensions(extensions []pkix.Extension) (err error) {
	for _, e := range extensions {
		switch {
		case e.Id.Equal(oidDeltaIndicator):
			return errors.New("crl: delta lists aren't taken")
		case e.Id.Equal(oidIssuingPoint):
			l.points, err = issuingPoint(e.Value)
		case e.Id.Equal(oidExpiredCerts):
			l.expiredFrom, err = expiredCerts(e.Value)
		case e.Critical:
			return fmt.Errorf("crl: the list has the unknown critical extension %s", e.Id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// expiredCerts reads an ExpiredCertsOnCRL (ITU-T X.509), a GeneralizedTime.
func expiredCerts(der []byte) (from time.Time, err error) {
	rest, err := asn1.UnmarshalWithParams(der, &from, "generalized")
	if err != nil || len(rest) > 0 {
		return time.Time{}, errors.New("crl: the date of expiredCertsOnCRL can't be read")
	}
	return from, nil
}

// issuingPoint reads an IssuingDistributionPoint (RFC 5280 section 5.2.5):
//
//	SEQUENCE { distributionPoint [0] DistributionPointName OPTIONAL,
//	  onlyContainsUserCerts [1] BOOLEAN DEFAULT FALSE, onlyContainsCACerts [2] …,
//	  onlySomeReasons [3] ReasonFlags OPTIONAL, indirectCRL [4] …, onlyContainsAttributeCerts [5] … }
//
// Of the fields after the first only onlyContainsUserCerts leaves a list that
// can speak of every end entity.
func issuingPoint(der []byte) ([]string, error) {
	bad := errors.New("crl: the issuing distribution point can't be read")
	input := cryptobyte.String(der)
	var body cryptobyte.String
	if !input.ReadASN1(&body, tags.SEQUENCE) || !input.Empty() {
		return nil, bad
	}
	var name cryptobyte.String
	var named bool
	if !body.ReadOptionalASN1(&name, &named, tags.Tag(0).ContextSpecific().Constructed()) {
		return nil, bad
	}
	var points []string
	if named {
		var err error
		if points, err = fullName(name); err != nil {
			return nil, err
		}
	}
	for !body.Empty() {
		var value cryptobyte.String
		var tag tags.Tag
		if !body.ReadAnyASN1(&value, &tag) {
			return nil, bad
		}
		if tag == tags.Tag(1).ContextSpecific() {
			continue
		}
		if tag != tags.Tag(3).ContextSpecific() && len(value) == 1 && value[0] == 0 {
			continue // FALSE, written out
		}
		return nil, errors.New("crl: the list is indirect, or not for all reasons and end entities")
	}
	return points, nil
}

// fullName reads the URIs of a DistributionPointName that has the form
// fullName [0] GeneralNames. The other form, a name relative to the issuer,
// is not in use.
func fullName(name cryptobyte.String) ([]string, error) {
	var names cryptobyte.String
	if !name.ReadASN1(&names, tags.Tag(0).ContextSpecific().Constructed()) || !name.Empty() {
		return nil, errors.New("crl: the issuing distribution point isn't a fullName")
	}
	var points []string
	for !names.Empty() {
		var value cryptobyte.String
		var tag tags.Tag
		if !names.ReadAnyASN1(&value, &tag) {
			return nil, errors.New("crl: the issuing distribution point's name can't be read")
		}
		if tag == tags.Tag(6).ContextSpecific() { // uniformResourceIdentifier
			points = append(points, string(value))
		}
	}
	if len(points) == 0 {
		return nil, errors.New("crl: the issuing distribution point names no URI")
	}
	return points, nil
}
