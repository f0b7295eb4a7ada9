// SPDX-License-Identifier: Apache-2.0

package cmc_test

import (
	"bytes"
	"encoding/asn1"
	"math/big"
	"reflect"
	"testing"
	"time"

	. "github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
)

// codec says how one type of value is read and written.
type codec struct {
	wrote any
	der   []byte
	parse func([]byte) (any, error)
}

func of[T any](v T, marshal func(T) ([]byte, error), parse func([]byte) (T, error)) codec {
	return codec{v, must(marshal(v)), func(der []byte) (any, error) { return parse(der) }}
}

func codecs() map[string]codec {
	name, when := Name(CN("ca")), time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	id := cmc.CertID{Issuer: name, Serial: big.NewInt(255)}
	path := []cmc.BodyPartID{3, 0, 4294967295}
	return map[string]codec{
		"confirmCertAcceptance": of(id, cmc.CertID.Marshal, cmc.ParseCertID),
		"getCert":               of(id, cmc.CertID.MarshalGetCert, cmc.ParseGetCert),
		"getCRL": of(cmc.GetCRL{Issuer: name, Name: DNS("a"), Time: when, Reasons: &asn1.BitString{Bytes: []byte{0x60}, BitLength: 3}},
			cmc.GetCRL.Marshal, cmc.ParseGetCRL),
		"getCRL, the newest": of(cmc.GetCRL{Issuer: name}, cmc.GetCRL.Marshal, cmc.ParseGetCRL),
		"revokeRequest": of(cmc.Revocation{CertID: id, Reason: 1, Invalid: when, Secret: []byte("s"), Comment: "lost"},
			cmc.Revocation.Marshal, cmc.ParseRevocation),
		"revokeRequest, the least": of(cmc.Revocation{CertID: id}, cmc.Revocation.Marshal, cmc.ParseRevocation),
		"lraPOPWitness":            of(cmc.POPWitness{Content: 3, Requests: path}, cmc.POPWitness.Marshal, cmc.ParsePOPWitness),
		"trustedAnchors": of(cmc.TrustAnchors{Sequence: big.NewInt(7), Hash: cmc.OIDSHA256, Hashes: [][]byte{[]byte("a"), []byte("b")}},
			cmc.TrustAnchors.Marshal, cmc.ParseTrustAnchors),
		"batchRequests":    of(path, cmc.MarshalPath, cmc.ParsePath),
		"controlProcessed": of([]cmc.Reference{{ID: 5}, {Path: path}}, cmc.MarshalProcessed, cmc.ParseProcessed),
		"unsignedData": of(cmc.UnsignedData{Path: path, Type: asn1.ObjectIdentifier{1, 2}, Content: SEQ()},
			cmc.UnsignedData.Marshal, cmc.ParseUnsignedData),
	}
}

func TestValuesAreReadAsTheyWereWritten(t *testing.T) {
	for name, c := range codecs() {
		t.Run(name, func(t *testing.T) {
			read, err := c.parse(c.der)
			if err != nil || !reflect.DeepEqual(read, c.wrote) {
				t.Errorf("wrote %+v\nread  %+v, %v", c.wrote, read, err)
			}
		})
	}
}

func TestValuesWithAnyByteLackingOrAddedAreRefused(t *testing.T) {
	for name, c := range codecs() {
		t.Run(name, func(t *testing.T) {
			if _, err := c.parse(append(bytes.Clone(c.der), 0)); err == nil {
				t.Error("a byte after it is taken")
			}
			for end := range len(c.der) {
				if _, err := c.parse(c.der[:end]); err == nil {
					t.Errorf("%d of %d bytes are taken", end, len(c.der))
				}
			}
			// A field more at the end, with the length made to fit.
			if _, err := c.parse(SEQ(c.der[2:], []byte{1, 1, 0xff})); err == nil {
				t.Error("a field more is taken")
			}
		})
	}
}

func TestRevocationsThatAreRefused(t *testing.T) {
	name := Name(CN("ca"))
	for what, test := range map[string]struct {
		value []byte
		want  string
	}{
		"reason 7, which isn't used": {SEQ(name, INTEGER(1), []byte{10, 1, 7}), "reason is not a CRLReason"},
		"reason 11":                  {SEQ(name, INTEGER(1), []byte{10, 1, 11}), "reason is not a CRLReason"},
		"a reason that is INTEGER":   {SEQ(name, INTEGER(1), INTEGER(1)), "reason is not a CRLReason"},
		"a huge serial number":       {SEQ(name, cmc.Integer(new(big.Int).Lsh(big.NewInt(1), 300)), []byte{10, 1, 1}), "no serial number of at most 32 bytes"},
		"no issuer":                  {SEQ(INTEGER(1), []byte{10, 1, 1}), "no issuer name"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := cmc.ParseRevocation(test.value)
			wantError(t, err, test.want, cmc.BadRequest)
		})
	}
	_, err := cmc.ParseGetCert(SEQ(DNS("ca"), INTEGER(1)))
	wantError(t, err, "the issuer is not a directoryName", cmc.BadCertID)
}

// RFC 5272 section 3.2.3.
func TestUnsignedDataMovesUpWithItsPath(t *testing.T) {
	inner := cmc.UnsignedData{Path: []cmc.BodyPartID{4}, Type: asn1.ObjectIdentifier{1, 2}, Content: SEQ()}
	outer := inner.Raised(9)
	if !reflect.DeepEqual(outer.Path, []cmc.BodyPartID{9, 4}) || len(inner.Path) != 1 {
		t.Errorf("moved up it is %v, before it was %v", outer.Path, inner.Path)
	}
}

func TestIDsOfAuthData(t *testing.T) {
	if id, err := cmc.ParseID(INTEGER(5)); err != nil || id != 5 {
		t.Errorf("got %d, %v", id, err)
	}
	_, err := cmc.ParseID(append(INTEGER(5), 0))
	wantError(t, err, "trailing bytes", cmc.BadRequest)
}
