// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/tls"
	"net/http"
	"slices"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/wire"
)

// keygen is /serverkeygen once the gate is passed: the pass is asked for as in
// issue.
func (x *exchange) keygen(pass pass) (answer, *ra.Error) {
	if !pass.given {
		return answer{}, ra.Fail(ra.Fault, "the authentication gate was not passed", nil)
	}
	x.asked, x.request = true, x.arrival()
	x.request.Who = pass.who
	out, key, err := x.s.Authority.Keygen(x.r.Context(), x.profile, ra.Keygen{
		Request: x.request.Request, ID: x.id, Channel: x.channel, Remote: x.in.Remote, Confidential: x.in.Certless != nil || confidential(x.r.TLS),
	})
	defer key.DER.Clear()
	if _, fail := x.issued(out, err); fail != nil {
		return answer{}, fail
	}
	return x.keyAnswer(out, key)
}

// confidential: RFC 7030 section 4.4 forbids NULL ciphers, and wants one as
// strong as the key. What is weaker than 128 bits is refused; TLS 1.3 has none
// such, and of those without certificates only AES is taken. A proxy that ends the TLS would get the key in the open.
func confidential(state *tls.ConnectionState) bool {
	if state == nil {
		return false
	}
	return slices.ContainsFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.ID == state.CipherSuite })
}

// keyAnswer is the success of section 4.4.2: the private key, then the
// certificate just as an enrolment is answered; or both in one PKCS #12 (RFC 8295
// section 8.3.2).
func (x *exchange) keyAnswer(out ra.Outcome, key ra.PrivateKey) (answer, *ra.Error) {
	if len(key.DER) == 0 || out.Certificate == nil {
		return answer{}, ra.Fail(ra.Fault, "the authority gave no private key", nil)
	}
	if key.PKCS12 {
		return answer{status: http.StatusOK, contentType: wire.TypePKCS12, body: wire.EncodeBody(key.DER, x.s.Quirks.Wraps(x.r.UserAgent())), secret: true}, nil
	}
	bag, err := cms.CertsOnly(out.Certificate)
	if err != nil {
		return answer{}, ra.Fail(ra.Fault, "answer", err)
	}
	first := wire.Part{Type: wire.TypePKCS8, DER: key.DER}
	if key.Encrypted {
		first.Type = wire.TypeServerKey
	}
	contentType, body, err := wire.EncodeParts([]wire.Part{first, {Type: wire.TypeCertsOnly, DER: bag}}, x.s.Quirks.Wraps(x.r.UserAgent()))
	if err != nil {
		return answer{}, ra.Fail(ra.Fault, "answer", err)
	}
	return answer{status: http.StatusOK, contentType: contentType, body: body, secret: true}, nil
}

// madeOf is what a record keeps of a key that was made.
func madeOf(made *ra.Made) *audit.Made {
	if made == nil {
		return nil
	}
	m := audit.OfMade(made.Key, made.SPKISHA256, made.By, made.For)
	if made.PKCS12 {
		m.Form = "pkcs12"
	}
	for _, s := range made.Superseded {
		one := audit.Superseded{Serial: audit.Serial(s.Certificate.SerialNumber), Revoked: s.Revoked}
		if s.Err != nil {
			one.Error = audit.Text(s.Err.Error())
		}
		m.Superseded = append(m.Superseded, one)
	}
	return m
}
