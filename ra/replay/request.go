// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/audit"
)

type csrAttribute = csr.Attribute

// Request makes the request anew that a policy decided upon, of a record that
// has one under `input`.
func Request(r *audit.Record) (policy.Arrival, error) {
	in := r.Input
	if in == nil || in.CSR == nil {
		return policy.Arrival{}, errors.New("the record holds no request: the policy wasn't asked about one")
	}
	req := policy.Arrival{Request: policy.Request{Op: r.Op, Label: r.Label.String(), Now: in.Time, Until: in.Until, Linking: linking(in.Linking)}}
	req.Who.Anchors, req.Who.AnchorEnds = in.Anchors, in.AnchorEnds
	req.Who.IssuedUnder = in.IssuedUnder.String()
	for _, a := range in.Accounts {
		req.Who.Accounts = append(req.Who.Accounts, policy.Account{Method: a.Method, User: a.User})
	}
	for _, d := range in.Devices {
		req.Who.Devices = append(req.Who.Devices, policy.Device{
			Registry: d.Registry, Issuer: d.Issuer, Identity: d.Identity, State: policy.DeviceState(d.State), Again: d.Again,
		})
	}
	var err error
	if req.Who.Data, err = policy.ParseFacts(in.Data); err != nil {
		return req, fmt.Errorf("input.data: %w", err)
	}
	if req.Who.Claims, err = policy.ParseFacts(in.Claims); err != nil {
		return req, fmt.Errorf("input.claims: %w", err)
	}
	if req.Who.Passwords, err = passwords(in.Passwords); err != nil {
		return req, fmt.Errorf("input.passwords: %w", err)
	}
	if req.Who.Cert, err = certificate(in.Cert); err != nil {
		return req, fmt.Errorf("input.cert: %w", err)
	}
	if len(in.RAIssuers) > 0 {
		if req.By, err = policy.NewRegistrar(req.Who, in.RAIssuers); err != nil {
			return req, fmt.Errorf("input.ra_issuers: %w", err)
		}
	}
	if req.Renews, err = certificate(in.Renews); err != nil {
		return req, fmt.Errorf("input.renews: %w", err)
	}
	if req.KeyHolder, err = holder(in.KeyHolder); err != nil {
		return req, fmt.Errorf("input.key_holder: %w", err)
	}
	if in.Chain != nil {
		req.Chain = &policy.Chain{Renewals: in.Chain.Renewals, Since: in.Chain.Since}
	}
	parts, err := restored(in.CSR)
	if err == nil && req.Op == policy.ServerKeygen {
		req.Keyless, err = csr.RestoreKeyless(parts)
	} else if err == nil {
		req.CSR, err = csr.Restore(parts)
	}
	if err != nil {
		return req, fmt.Errorf("input.csr: %w", err)
	}
	return req, nil
}

func certificate(der []byte) (*x509.Certificate, error) {
	if len(der) == 0 {
		return nil, nil
	}
	return x509.ParseCertificate(der)
}

func passwords(in []audit.Password) ([]policy.OneTimePassword, error) {
	var all []policy.OneTimePassword
	for _, p := range in {
		out := policy.OneTimePassword{ID: p.ID, Via: p.Via}
		var err error
		if out.Bound.Subject = len(p.Subject) > 0; out.Bound.Subject {
			if out.Bound.Names.Subject, err = csr.NameFromDER(p.Subject); err != nil {
				return nil, err
			}
		}
		if out.Bound.SAN = len(p.SAN) > 0; out.Bound.SAN {
			if out.Bound.Names.SAN, err = csr.ParseSAN(p.SAN); err != nil {
				return nil, err
			}
		}
		all = append(all, out)
	}
	return all, nil
}

func holder(in *audit.KeyHolder) (*policy.KeyHolder, error) {
	if in == nil {
		return nil, nil
	}
	held := policy.KeyHolder{Serial: in.Serial}
	names, err := hex.DecodeString(in.Names)
	if err != nil || len(names) != len(held.Names) {
		return nil, fmt.Errorf("%q is no SHA-256", in.Names)
	}
	copy(held.Names[:], names)
	return &held, nil
}

func linking(text string) policy.Linking {
	for _, l := range []policy.Linking{policy.Absent, policy.Matched, policy.Mismatched, policy.Unproven} {
		if l.String() == text {
			return l
		}
	}
	return policy.Uncomputable
}

// restored gives what a record keeps of a request.
func restored(in *audit.InputCSR) (csr.Parts, error) {
	parts := csr.Parts{Size: in.Bytes, Subject: in.Subject, SPKI: in.SPKI, Signature: in.Sig}
	for _, e := range in.Extensions {
		id, ok := csr.TypeOID(e.OID.String())
		if !ok {
			return parts, fmt.Errorf("%q is no OID", e.OID)
		}
		parts.Extensions = append(parts.Extensions, csr.Extension{ID: id, Critical: e.Critical, Value: e.Value})
	}
	values := map[string][][]byte{}
	for _, v := range in.Values {
		values[v.OID] = v.Values
	}
	for _, oid := range in.Attributes {
		id, ok := csr.TypeOID(oid)
		if !ok {
			return parts, fmt.Errorf("%q is no OID", oid)
		}
		parts.Attributes = append(parts.Attributes, csr.Attribute{Type: id, Values: values[oid]})
	}
	return parts, nil
}
