// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"maps"
	"slices"

	"cel.dev/cel-go/cel"

	"github.com/caddy-est/estra/policy/csr"
)

// What the variables of an expression hold.
type (
	celCSR     struct{ *csr.Request }
	celSubject struct{ name csr.Name }
	celSAN     struct{ names []csr.GeneralName }
	celKey     struct {
		csr.Key
		hash string
	}
	celWho struct {
		method, user, realm, anchor, role string
		password                          OneTimePassword
		device                            Device
		certificate                       *celCert
		data, claims                      Facts
	}
	celCert struct {
		*x509.Certificate
		names csr.Names
	}
	celReq struct {
		Request
		profile string
	}
	celPlan     struct{ *Plan }
	celPassword struct{ OneTimePassword }
	celDevice   struct{ Device }
)

func (*celCSR) celType() string     { return celCSRType }
func (celSubject) celType() string  { return celSubjectType }
func (celSAN) celType() string      { return celSANType }
func (celKey) celType() string      { return celKeyType }
func (*celCert) celType() string    { return celCertType }
func (*celReq) celType() string     { return celReqType }
func (*celPlan) celType() string    { return celPlanType }
func (celPassword) celType() string { return celPasswordType }
func (celDevice) celType() string   { return celDeviceType }
func (w *celWho) celType() string {
	if w.certificate != nil {
		return celWhoCertType
	}
	return celWhoType
}

var (
	celTexts = cel.ListType(cel.StringType)
	celFacts = cel.MapType(cel.StringType, cel.DynType)
)

// celTypes are our types with their fields: the reference of docs/policy.md.
var celTypes = map[string][]celField{
	celCSRType: {
		celOf("subject", celObject(celSubjectType), "the subject that is asked for", func(r *celCSR) any { return celSubject{r.Names.Subject} }),
		celOf("san", celObject(celSANType), "the SAN that is asked for", func(r *celCSR) any { return celSAN{r.Names.SAN} }),
		celOf("key", celObject(celKeyType), "the public key", func(r *celCSR) any { return celKey{r.Key, r.SPKISHA256()} }),
		celOf("signature", cel.StringType, "the signature algorithm, such as ECDSA-SHA256", func(r *celCSR) any { return r.SignatureName() }),
		celOf("attributes", celTexts, "names or OIDs of the PKCS #10 attributes", func(r *celCSR) any { return attributeNames(r.Attributes) }),
		celOf("extensions", celTexts, "names or OIDs of the requested extensions", func(r *celCSR) any { return extensionNamesOf(r.Extensions) }),
		celOf("key_usage", celTexts, "the key usages that are asked for", func(r *celCSR) any {
			usage, _, _ := r.RequestedKeyUsage() // one that can't be read is refused by `usage`
			return KeyUsageNames(usage)
		}),
		celOf("ext_key_usage", celTexts, "the extended key usages that are asked for, by name or OID", func(r *celCSR) any {
			usages, _, _ := r.RequestedExtKeyUsage()
			return extKeyUsageNamesOf(usages)
		}),
	},
	celSubjectType: subjectFields(),
	celSANType:     sanFields(),
	celKeyType: {
		celOf("algorithm", cel.StringType, "rsa, ecdsa or ed25519", func(k celKey) any { return string(k.Algorithm) }),
		celOf("bits", cel.IntType, "length of the RSA modulus, or size of the curve", func(k celKey) any { return int64(k.Bits) }),
		celOf("curve", cel.StringType, "P-256, P-384 or P-521", func(k celKey) any { return k.Curve }),
		celOf("spki_sha256", cel.StringType, "SHA-256 of the SubjectPublicKeyInfo, in lower-case hexadecimal", func(k celKey) any { return k.hash }),
	},
	celWhoType:     whoFields(),
	celWhoCertType: append(whoFields(), celOf("cert", celObject(celCertType), "the TLS client certificate", func(w *celWho) any { return w.certificate })),
	celCertType: {
		celOf("subject", celObject(celSubjectType), "its subject", func(c *celCert) any { return celSubject{c.names.Subject} }),
		celOf("san", celObject(celSANType), "its SAN", func(c *celCert) any { return celSAN{c.names.SAN} }),
		celOf("issuer", celObject(celSubjectType), "its issuer", func(c *celCert) any {
			name, _ := csr.NameFromDER(c.RawIssuer) // of a verified certificate
			return celSubject{name}
		}),
		celOf("serial", cel.StringType, "its serial number, in lower-case hexadecimal", func(c *celCert) any { return c.SerialNumber.Text(16) }),
		celOf("not_before", cel.TimestampType, "when it begins", func(c *celCert) any { return c.NotBefore }),
		celOf("not_after", cel.TimestampType, "when it ends", func(c *celCert) any { return c.NotAfter }),
		celOf("sha256", cel.StringType, "SHA-256 of the whole, in lower-case hexadecimal", func(c *celCert) any { return hexHash(c.Raw) }),
		celOf("spki_sha256", cel.StringType, "SHA-256 of its SubjectPublicKeyInfo", func(c *celCert) any { return hexHash(c.RawSubjectPublicKeyInfo) }),
	},
	celPasswordType: {
		celOf("id", cel.StringType, "its id, or empty", func(p celPassword) any { return p.ID }),
		celOf("via", cel.StringType, "basic, otp_challenge, identity_proof or identity_proof_v1", func(p celPassword) any { return p.Via }),
		celOf("subject", celObject(celSubjectType), "the subject that it was made for", func(p celPassword) any { return celSubject{p.Bound.Names.Subject} }),
		celOf("san", celObject(celSANType), "the SAN that it was made for", func(p celPassword) any { return celSAN{p.Bound.Names.SAN} }),
	},
	celDeviceType: {
		celOf("registry", cel.StringType, "its registry, or empty", func(d celDevice) any { return d.Registry }),
		celOf("issuer", cel.StringType, "the key identifier of the IDevID's issuer, in lower-case hexadecimal", func(d celDevice) any { return d.Issuer }),
		celOf("identity", cel.StringType, "serialNumber:VALUE, hardwareModuleName:TYPE:HEX or permanentIdentifier:ASSIGNER:VALUE", func(d celDevice) any { return d.Identity }),
		celOf("state", cel.StringType, "expected or enrolled", func(d celDevice) any { return string(d.State) }),
	},
	celReqType: {
		celOf("op", cel.StringType, "simpleenroll, simplereenroll, serverkeygen, fullcmc.enroll or fullcmc.reenroll", func(r *celReq) any { return string(r.Op) }),
		celOf("label", cel.StringType, "the label of the path, or empty", func(r *celReq) any { return r.Label }),
		celOf("profile", cel.StringType, "the profile's name", func(r *celReq) any { return r.profile }),
		celOf("linking", cel.StringType, "absent, matched, mismatched, uncomputable or unproven", func(r *celReq) any { return r.Linking.String() }),
		celOf("now", cel.TimestampType, "when the request came", func(r *celReq) any { return r.Now }),
	},
	celPlanType: {
		celOf("subject", celObject(celSubjectType), "the subject of the certificate", func(p *celPlan) any { return celSubject{p.Names.Subject} }),
		celOf("san", celObject(celSANType), "the SAN of the certificate", func(p *celPlan) any { return celSAN{p.Names.SAN} }),
		celOf("key_usage", celTexts, "its key usages", func(p *celPlan) any { return KeyUsageNames(p.KeyUsage) }),
		celOf("ext_key_usage", celTexts, "its extended key usages, by name or OID", func(p *celPlan) any { return extKeyUsageNamesOf(p.ExtKeyUsage) }),
		celOf("extensions", celTexts, "names or OIDs of its further extensions", func(p *celPlan) any { return extensionNamesOf(p.Extensions) }),
		celOf("validity", cel.DurationType, "how long it is valid", func(p *celPlan) any { return p.Validity }),
	},
}

func whoFields() []celField {
	return []celField{
		celOf("method", cel.StringType, "how the deciding line knows the client: client_cert, http_basic, digest, bearer:NAME, one_time_password, srp or a provider's name", func(w *celWho) any { return w.method }),
		celOf("user", cel.StringType, "the account, or empty", func(w *celWho) any { return w.user }),
		celOf("realm", cel.StringType, "the realm of a user of srp, or empty", func(w *celWho) any { return w.realm }),
		celOf("anchor", cel.StringType, "the anchor of the client certificate, or empty", func(w *celWho) any { return w.anchor }),
		celOf(celClaims, celFacts, "the claims of the token, by name", func(w *celWho) any { return w.claims.cel() }),
		celOf(celData, celFacts, "what the webhook says, by name", func(w *celWho) any { return w.data.cel() }),
		celOf("role", cel.StringType, "ra where a registration authority asks on behalf of others, else empty", func(w *celWho) any { return w.role }),
		celOf("password", celObject(celPasswordType), "the one-time password", func(w *celWho) any { return celPassword{w.password} }),
		celOf("device", celObject(celDeviceType), "the entry of the device registry", func(w *celWho) any { return celDevice{w.device} }),
	}
}

// subjectFields has a field for each attribute that a subject may have by
// name: its first value.
func subjectFields() []celField {
	var fields []celField
	for _, name := range csr.TypeNames() {
		oid, _ := csr.TypeOID(name)
		fields = append(fields, celOf(name, cel.StringType, "the first value of "+name, func(s celSubject) any {
			if all := s.values(oid.String()); len(all) > 0 {
				return all[0]
			}
			return ""
		}))
	}
	return fields
}

func (s celSubject) values(oid string) []string {
	var values []string
	for _, rdn := range s.name {
		for _, value := range rdn {
			if value.Type.String() == oid {
				values = append(values, value.Value)
			}
		}
	}
	return values
}

// sanFields has a field for each kind that has a key of its own in the policy
// file.
func sanFields() []celField {
	var fields []celField
	for _, name := range slices.Sorted(maps.Keys(sanKinds)) {
		kind := sanKinds[name]
		fields = append(fields, celOf(name, celTexts, "each "+kind.form.name+", as text", func(s celSAN) any { return s.values(kind.key) }))
	}
	return fields
}

// values leaves out what isn't written as its type demands.
func (s celSAN) values(key sanKey) []string {
	values := []string{}
	for _, g := range s.names {
		if keyOf(g) == key && g.Value != "" {
			values = append(values, g.Value)
		}
	}
	return values
}

func attributeNames(attributes []csr.Attribute) []string {
	names := make([]string, len(attributes))
	for i, a := range attributes {
		names[i] = attributeName(a.Type)
	}
	return names
}

func extensionNamesOf(extensions []csr.Extension) []string {
	names := make([]string, len(extensions))
	for i, e := range extensions {
		names[i] = extensionName(e.ID)
	}
	return names
}

func hexHash(b []byte) string {
	hash := sha256.Sum256(b)
	return hex.EncodeToString(hash[:])
}

// A celInput is what the variables are, for one request. It is an
// interpreter.Activation.
type celInput struct {
	csr   *celCSR
	who   *celWho
	req   *celReq
	plan  *celPlan
	prior *celCert
	// warned are the ids of checks that warn; nil before they were asked.
	warned []string
	// spent is what the expressions of this decision have cost, estimated what
	// they could at most by what was said when the file was loaded.
	spent, estimated uint64
	read             celReads // by all of them
}

// ResolveName implements the activation of CEL.
func (in *celInput) ResolveName(name string) (any, bool) {
	switch name {
	case "csr":
		return in.csr, in.csr != nil
	case "who":
		return in.who, in.who != nil
	case "req":
		return in.req, in.req != nil
	case "plan":
		return in.plan, in.plan != nil
	case "prior":
		return in.prior, in.prior != nil
	case "warned":
		return in.warned, in.warned != nil
	}
	return nil, false
}

// Parent implements the activation of CEL.
func (in *celInput) Parent() cel.Activation { return nil }

func newCELCert(cert *x509.Certificate) (*celCert, error) {
	names, err := csr.NamesOf(cert)
	if err != nil {
		return nil, err
	}
	return &celCert{cert, names}, nil
}
