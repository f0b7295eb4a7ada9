// SPDX-License-Identifier: Apache-2.0

package cmc_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
)

// spki is a key that can't sign: X25519.
var spki = SEQ(SEQ(OID("1.3.101.110")), BITS(0, bytes.Repeat([]byte{9}, 32)...))

func certRequest(id cmc.BodyPartID) cmc.CertRequest {
	return cmc.CertRequest{ID: id, Template: cmc.CertTemplate{Subject: Name(CN("rtr-1.example")), SPKI: spki}}
}

var ecdsaSHA256 = SEQ(OID("1.2.840.10045.4.3.2"))

// signing signs as a key of P-256 does.
func signing(key crypto.Signer) func([]byte) ([]byte, []byte, error) {
	return func(message []byte) ([]byte, []byte, error) {
		sum := sha256.Sum256(message)
		signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
		return ecdsaSHA256, signature, err
	}
}

func TestCRMFOfOpenSSL(t *testing.T) {
	m, err := cmc.ParseCertReqMsg(readBase64(t, "testdata/openssl-signature.b64"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.CSR()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.CheckPOP(); err != nil {
		t.Errorf("its signature: %v", err)
	}
	if got := r.Names.Subject.String(); got != "O=Example, CN=rtr-1.example" {
		t.Errorf("subject is %s", got)
	}
	if len(r.Names.SAN) != 1 || r.Names.SAN[0].String() != "dns:rtr-1.example" {
		t.Errorf("SAN is %v", r.Names.SAN)
	}
	if r.Key.Curve != "P-256" || r.SignatureName() != "ECDSA-SHA256" {
		t.Errorf("key %+v, signature %s", r.Key, r.SignatureName())
	}
	if _, err := x509.ParsePKIXPublicKey(r.RawSPKI); err != nil {
		t.Errorf("crypto/x509 on its key: %v", err)
	}
	if got := m.Template.NotAfter.Sub(m.Template.NotBefore); got != 30*24*time.Hour {
		t.Errorf("it asks for %s", got)
	}
	if _, ok := r.PKCS10(); ok || r.Form() != csr.CRMF {
		t.Error("it is taken for a PKCS #10")
	}
	// CMP counts from 0, which CMC keeps for the whole message.
	request := must(cmc.NewCRMF(m.Raw))
	_, err = cmc.ParsePKIData(data(SEQ(), SEQ(request.Raw), SEQ(), SEQ()))
	wantError(t, err, "body part id 0, which stands for the whole, is an element's", cmc.BadRequest)
}

func TestASignatureIsOverTheCertRequest(t *testing.T) {
	raw := readBase64(t, "testdata/openssl-signature.b64")
	for i := range len(raw) {
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		m, err := cmc.ParseCertReqMsg(changed)
		if err != nil {
			continue
		}
		r, err := m.CSR()
		if err != nil {
			continue
		}
		if r.CheckPOP() == nil {
			t.Errorf("the signature holds with byte %d of %d changed", i, len(raw))
		}
	}
}

func TestCRMFWithoutASignature(t *testing.T) {
	wrong := "the proof of a key that can't sign is not challengeResp"
	_, err := cmc.ParseCertReqMsg(readBase64(t, "testdata/openssl-keyenc.b64"))
	wantError(t, err, "popo: "+wrong, cmc.POPFailed) // encrCert, which CMP uses and CMC forbids
	m := must(cmc.ParseCertReqMsg(readBase64(t, "testdata/openssl-raverified.b64")))
	if m.POP.Kind != cmc.RAVerified {
		t.Errorf("the proof is of kind %d", m.POP.Kind)
	}
	noSignature(t, m)
	m = must(cmc.ParseCertReqMsg(must(certRequest(3).Vouched())))
	if m.POP.Kind != cmc.RAVerified || m.ID != 3 {
		t.Errorf("%+v", m)
	}
	for _, agreement := range []bool{false, true} {
		m = must(cmc.ParseCertReqMsg(must(certRequest(3).Challenged(agreement))))
		if m.POP.Kind != cmc.ChallengePOP || m.POP.Agreement != agreement {
			t.Errorf("%+v", m.POP)
		}
		noSignature(t, m)
	}
}

func noSignature(t *testing.T, m *cmc.CertReqMsg) {
	t.Helper()
	r, err := m.CSR()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.CheckPOP(); err == nil || err.Error() != "the CRMF request has no signature of its key" {
		t.Errorf("CheckPOP: %v", err)
	}
}

func TestARequestThatIsMadeHasWhatWasAskedFor(t *testing.T) {
	key := Key(t, "P-256")
	san := SEQ(OID(csr.OIDSubjectAltName), cmc.Octets(SEQ(DNS("rtr-1.example"))))
	ask := cmc.CertRequest{
		ID: 9,
		Template: cmc.CertTemplate{
			Version: true, Issuer: Name(CN("ca")), NotAfter: time.Date(2060, 1, 2, 3, 4, 5, 0, time.UTC),
			Subject: SEQ(), SPKI: must(x509.MarshalPKIXPublicKey(key.Public())), Extensions: SEQ(san),
		},
		Controls: []csr.Attribute{{Type: cmc.NewControl(1, cmc.OIDPopLinkWitness).Type, Values: [][]byte{cmc.Octets([]byte("w"))}}},
	}
	request := must(cmc.NewCRMF(must(ask.Signed(signing(key)))))
	r, err := request.CSR()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.CheckPOP(); err != nil {
		t.Error(err)
	}
	if a, ok := r.Attribute(cmc.OIDPopLinkWitness); !ok || !bytes.Equal(a.Values[0], cmc.Octets([]byte("w"))) {
		t.Errorf("its control is %+v, %t", a, ok)
	}
	if len(r.Names.Subject) != 0 || !r.Names.HasSAN || request.ID != 9 {
		t.Errorf("names %+v, id %d", r.Names, request.ID)
	}
	got := request.CRMF.Template
	if !got.Version || !got.NotAfter.Equal(ask.Template.NotAfter) || !got.NotBefore.IsZero() || !bytes.Equal(got.Issuer, ask.Template.Issuer) {
		t.Errorf("the template is %+v", got)
	}
}

func TestCRMFThatIsRefused(t *testing.T) {
	subject, key := ConstructedName(5, Name(CN("a"))), TLV(0xa6, spki[2:])
	request := func(fields ...[]byte) []byte { return SEQ(INTEGER(7), SEQ(fields...)) }
	good := request(subject, key)
	extensions := ConstructedName(9, SEQ(OID("1.2"), cmc.Octets(nil)))
	tests := map[string]struct {
		msg  []byte
		want string
		fail cmc.FailInfo
	}{
		"no CertRequest":               {SEQ(), "no CertRequest", cmc.BadRequest},
		"no certReqId":                 {SEQ(SEQ(SEQ())), "certReq: certReqId: no body part id, which is an INTEGER of 0 to 4294967295", cmc.BadRequest},
		"no subject":                   {SEQ(request(key)), "certReq: certTemplate: subject and publicKey must be there", cmc.BadRequest},
		"no key":                       {SEQ(request(subject)), "certReq: certTemplate: subject and publicKey must be there", cmc.BadRequest},
		"a serial number":              {SEQ(request(GeneralName(1, []byte{5}), subject, key)), "certReq: certTemplate: serialNumber and signingAlg are the CA's", cmc.BadRequest},
		"a signature algorithm":        {SEQ(request(ConstructedName(2, OID("1.2")), subject, key)), "certReq: certTemplate: serialNumber and signingAlg are the CA's", cmc.BadRequest},
		"an issuerUID":                 {SEQ(request(subject, key, GeneralName(7, []byte{0, 1}))), "certReq: certTemplate: issuerUID and subjectUID must not be used", cmc.BadRequest},
		"fields in another order":      {SEQ(request(key, subject)), "certReq: certTemplate: tag 0xa5 has no place here", cmc.BadRequest},
		"a field twice":                {SEQ(request(subject, subject, key)), "certReq: certTemplate: tag 0xa5 has no place here", cmc.BadRequest},
		"a field beyond the last":      {SEQ(request(subject, key, ConstructedName(10))), "certReq: certTemplate: tag 0xaa has no place here", cmc.BadRequest},
		"a field of another class":     {SEQ(request(subject, key, SEQ())), "certReq: certTemplate: tag 0x30 has no place here", cmc.BadRequest},
		"a version that isn't v3":      {SEQ(request(GeneralName(0, []byte{1}), subject, key)), "certReq: certTemplate: version: not v3", cmc.BadRequest},
		"a validity without a time":    {SEQ(request(ConstructedName(4), subject, key)), "certReq: certTemplate: validity: not an OptionalValidity of at least one Time", cmc.BadRequest},
		"a time that is none":          {SEQ(request(ConstructedName(4, ConstructedName(0, Text(23, "nonsense"))), subject, key)), "certReq: certTemplate: validity: not a Time", cmc.BadRequest},
		"a subject that is no name":    {SEQ(request(ConstructedName(5, INTEGER(1)), key)), "certReq: certTemplate: subject: not a Name", cmc.BadRequest},
		"an empty list of controls":    {SEQ(SEQ(INTEGER(7), SEQ(subject, key), SEQ())), "certReq: an empty list of controls, or bytes after it", cmc.BadRequest},
		"a control without a value":    {SEQ(SEQ(INTEGER(7), SEQ(subject, key), SEQ(SEQ(OID("1.2"))))), "certReq: controls: control 1: not an AttributeTypeAndValue", cmc.BadRequest},
		"regInfo":                      {SEQ(good, SEQ(SEQ(OID("1.2"), INTEGER(1)))), "regInfo, whose place is the control of CMC, or other bytes after the proof of possession", cmc.BadRequest},
		"poposkInput":                  {SEQ(good, ConstructedName(1, ConstructedName(0), ecdsaSHA256, BITS(0, 1))), "popo: poposkInput, which CMC forbids: the signature is over the CertRequest", cmc.POPFailed},
		"a signature of half a byte":   {SEQ(good, ConstructedName(1, ecdsaSHA256, BITS(4, 0x10))), "popo: the signature is not a BIT STRING of whole bytes, and nothing after it", cmc.BadRequest},
		"raVerified with content":      {SEQ(good, GeneralName(0, []byte{1})), "popo: raVerified is not NULL", cmc.BadRequest},
		"the private key itself":       {SEQ(good, ConstructedName(2, GeneralName(0, []byte{0, 1}))), "popo: the proof of a key that can't sign is not challengeResp", cmc.POPFailed},
		"the encrypted certificate":    {SEQ(good, ConstructedName(2, GeneralName(1, []byte{0}))), "popo: the proof of a key that can't sign is not challengeResp", cmc.POPFailed},
		"a proof of an unknown kind":   {SEQ(good, ConstructedName(4)), "popo: tag 0xa4 is no proof of possession", cmc.BadRequest},
		"a subject of an extension":    {SEQ(request(subject, key, extensions, extensions)), "certReq: certTemplate: tag 0xa9 has no place here", cmc.BadRequest},
		"an issuer that isn't a name":  {SEQ(request(ConstructedName(3, SEQ(), SEQ()), subject, key)), "certReq: certTemplate: issuer: not a Name", cmc.BadRequest},
		"a serial number of 40 octets": {SEQ(request(GeneralName(1, bytes.Repeat([]byte{5}, 40)), subject, key)), "certReq: certTemplate: serialNumber: no serial number of at most 32 bytes", cmc.BadRequest},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := cmc.ParseCertReqMsg(test.msg)
			wantError(t, err, test.want, test.fail)
		})
	}
}

func TestCRMFThatPolicyCannotRead(t *testing.T) {
	control := func(oid string) csr.Attribute {
		return csr.Attribute{Type: cmc.NewControl(1, oid).Type, Values: [][]byte{SEQ()}}
	}
	extension := SEQ(OID(csr.OIDKeyUsage), cmc.Octets(BITS(7, 0x80)))
	tests := map[string]struct {
		change func(*cmc.CertRequest)
		want   string
	}{
		"an extension twice": {
			func(r *cmc.CertRequest) { r.Template.Extensions = SEQ(extension, extension) },
			"crm: extensions: extension 2.5.29.15 occurs twice",
		},
		"a control twice": {
			func(r *cmc.CertRequest) {
				r.Controls = []csr.Attribute{control(cmc.OIDPopLinkWitness), control(cmc.OIDPopLinkWitness)}
			},
			"crm: controls: 1.3.6.1.5.5.7.7.23 occurs twice",
		},
		"extensions in a control": {
			func(r *cmc.CertRequest) { r.Controls = []csr.Attribute{control(csr.OIDExtensionRequest)} },
			"crm: controls: 1.2.840.113549.1.9.14 carries extensions, whose place is the template",
		},
		"a malformed key": {
			func(r *cmc.CertRequest) { r.Template.SPKI = SEQ(SEQ(OID("1.3.101.112")), BITS(0, 1)) },
			"crm: key: Ed25519: 1 bytes, not 32",
		},
		"a malformed name": {
			func(r *cmc.CertRequest) { r.Template.Subject = SEQ(SET()) },
			"crm: subject: RDN 1: empty",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ask := certRequest(7)
			test.change(&ask)
			request := must(cmc.NewCRMF(must(ask.Vouched())))
			_, err := request.CSR()
			wantError(t, err, test.want, cmc.BadRequest)
		})
	}
	other := must(cmc.NewOther(5, cmc.NewControl(1, "1.2.3").Type, SEQ()))
	_, err := other.CSR()
	wantError(t, err, "request format 1.2.3 is not known", cmc.BadRequest)
	broken := must(cmc.NewPKCS10(5, SEQ()))
	_, err = broken.CSR()
	wantError(t, err, "tcr: no CertificationRequestInfo", cmc.BadRequest)
}

func TestModifications(t *testing.T) {
	for _, replace := range []bool{true, false} {
		wrote := cmc.Modification{
			Data: []cmc.BodyPartID{0}, Requests: []cmc.BodyPartID{4, 5}, Replace: replace,
			Template: cmc.CertTemplate{Subject: Name(O("Example")), Extensions: SEQ()},
		}
		der := must(wrote.Marshal())
		read, err := cmc.ParseModification(der)
		if err != nil {
			t.Fatal(err)
		}
		if read.Replace != replace || len(read.Requests) != 2 || read.Requests[1] != 5 || read.Data[0] != 0 ||
			!bytes.Equal(read.Template.Subject, wrote.Template.Subject) || read.Template.SPKI != nil || read.Template.Extensions == nil {
			t.Errorf("read %+v", read)
		}
		if again := must(read.Marshal()); !bytes.Equal(again, der) {
			t.Errorf("encoded again as %x", again)
		}
	}
	one, template := SEQ(INTEGER(1)), SEQ(ConstructedName(5, Name(CN("a"))))
	written := SEQ(one, one, []byte{1, 1, 0xff}, template)
	if m, err := cmc.ParseModification(written); err != nil || !m.Replace {
		t.Errorf("a replace of TRUE that is written out is %+v, %v", m, err)
	}
	for name, test := range map[string]struct {
		value []byte
		want  string
	}{
		"no path":            {SEQ(SEQ(), one, template), "pkiDataReference: no body part id"},
		"no requests":        {SEQ(one, SEQ(), template), "certReferences: no body part id"},
		"no template":        {SEQ(one, one), "not ModCertTemplate"},
		"replace in BER":     {SEQ(one, one, []byte{1, 1, 1}, template), "replace: not a BOOLEAN in DER"},
		"a broken template":  {SEQ(one, one, SEQ(INTEGER(1))), "certTemplate: tag 0x2 has no place here"},
		"bytes after it all": {SEQ(one, one, template, INTEGER(1)), "not ModCertTemplate"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cmc.ParseModification(test.value)
			wantError(t, err, test.want, cmc.BadRequest)
		})
	}
}
