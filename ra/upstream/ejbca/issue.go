// SPDX-License-Identifier: Apache-2.0

package ejbca

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// Issue makes an end entity and asks for its certificate, once. Where that answer
// is lost, the certificate is looked for by the end entity's name, which no other
// has. Where EJBCA wants an approval for the end entity, the error is Pending. Ref
// is the serial number as EJBCA writes it.
func (u *Upstream) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if !o.Valid() {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "this is no order of an authority", nil)
	}
	block, err := requestPEM(o)
	if err != nil {
		return ra.Issued{}, err
	}
	if name, id, waits := waitingOf(o.Ref()); waits {
		return u.resume(ctx, o, name, id, block)
	}
	e, err := u.express(o)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, err.Error(), nil)
	}
	e.Username, e.Password = "estra-"+o.RequestID()+"-"+random(4), random(16)
	answer, err := u.send(ctx, request{method: http.MethodPost, path: []string{"endentity"}, body: e, id: o.RequestID()})
	switch {
	case err != nil:
		return ra.Issued{}, err
	case answer.Status == http.StatusAccepted:
		return ra.Issued{}, later(e.Username, messageOf(answer).ID, answer)
	case !answer.OK():
		return ra.Issued{}, refused(answer, u.cfg.Now())
	}
	return u.certify(ctx, o, e.Username, e.Password, block)
}

func requestPEM(o ra.Order) (string, error) {
	der, ok := o.CSR().PKCS10()
	if !ok {
		return "", ra.Fail(ra.UpstreamRefused, "the request is no PKCS #10, and no other is sent to EJBCA", nil)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

// certify asks for the certificate of an end entity.
func (u *Upstream) certify(ctx context.Context, o ra.Order, name, password, block string) (ra.Issued, error) {
	answer, err := u.call(ctx, request{
		method: http.MethodPost, path: []string{"certificate", "certificaterequest"}, id: o.RequestID(), signs: true,
		body: certificateRequest{Request: block, Type: "PKCS10", Username: name, Password: password, CA: u.cfg.CA},
	})
	var leaf *x509.Certificate
	if err == nil {
		if leaf, err = u.readCertificate(answer); err == nil {
			return issued(leaf), nil
		}
	}
	var e *ra.Error
	if !errors.As(err, &e) || e.Kind == ra.UpstreamRefused || ctx.Err() != nil {
		return ra.Issued{}, err
	}
	if leaf, lost := u.find(ctx, name); lost == nil && leaf != nil {
		return issued(leaf), nil
	}
	if e.Kind == ra.UpstreamTimeout {
		e.Reason += "; the end entity is " + name
	}
	return ra.Issued{}, e
}

func (u *Upstream) readCertificate(answer upstream.Answer) (*x509.Certificate, error) {
	var got struct {
		Certificate string `json:"certificate"`
	}
	if json.Unmarshal(answer.Body, &got) != nil {
		return nil, u.client.Unreadable(true, "an answer that isn't JSON", nil)
	}
	leaf, err := certificateOf(got.Certificate)
	if err != nil {
		return nil, u.client.Unreadable(true, "a certificate that can't be read", err)
	}
	return leaf, nil
}

// certificateOf reads DER in base64.
func certificateOf(text string) (*x509.Certificate, error) {
	der, err := derOf(text)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// derOf undoes base64, once or twice: some answers have base64 of base64.
func derOf(text string) ([]byte, error) {
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(der) == 0 {
		return nil, errors.New("it is no base64")
	}
	if der[0] != 0x30 { // a SEQUENCE
		return base64.StdEncoding.DecodeString(string(der))
	}
	return der, nil
}

func issued(leaf *x509.Certificate) ra.Issued {
	return ra.Issued{Certificate: leaf, Ref: serial(leaf)}
}

// serial is a serial number as EJBCA writes it.
func serial(c *x509.Certificate) string { return strings.ToUpper(c.SerialNumber.Text(16)) }

type (
	// search is SearchCertificatesRestRequest.
	search struct {
		Most     int         `json:"max_number_of_results"`
		Criteria []criterion `json:"criteria"`
	}
	criterion struct {
		Property  string `json:"property"`
		Value     string `json:"value"`
		Operation string `json:"operation"`
	}
)

// find looks for the certificate of an end entity; nil: there is none.
func (u *Upstream) find(ctx context.Context, name string) (*x509.Certificate, error) {
	var got struct {
		Certificates []struct {
			Certificate string `json:"certificate"`
		} `json:"certificates"`
	}
	err := u.read(ctx, &got, request{
		method: http.MethodPost, path: []string{"certificate", "search"}, reads: true,
		body: search{Most: 1, Criteria: []criterion{{"QUERY", name, "EQUAL"}}},
	})
	if err != nil || len(got.Certificates) == 0 {
		return nil, err
	}
	leaf, err := certificateOf(got.Certificates[0].Certificate)
	if err != nil {
		return nil, u.client.Unreadable(false, "a certificate that can't be read", err)
	}
	return leaf, nil
}

// waiting begins the reference of an order that waits for an approval.
const waiting = "approval "

// Defers implements ra.Deferrer: a profile may want an approval.
func (*Upstream) Defers() bool { return true }

// later says that an end entity waits.
func later(name string, id int64, answer upstream.Answer) *ra.Error {
	return ra.Later(fmt.Sprintf("%s%d %s", waiting, id, name), 0, fmt.Sprintf("%s; it is request %d there, of the end entity %s", said(answer), id, name))
}

// waitingOf reads it back.
func waitingOf(ref string) (name string, id int64, ok bool) {
	text, ok := strings.CutPrefix(ref, waiting)
	number, name, both := strings.Cut(text, " ")
	id, err := strconv.ParseInt(number, 10, 64)
	return name, id, ok && both && err == nil && name != ""
}

// resume asks what became of an end entity that waited. Once it is there it gets
// another password: nobody has kept the first one.
func (u *Upstream) resume(ctx context.Context, o ra.Order, name string, id int64, block string) (ra.Issued, error) {
	leaf, err := u.find(ctx, name)
	if err != nil {
		return ra.Issued{}, err
	}
	if leaf != nil { // its answer was lost
		return issued(leaf), nil
	}
	password := random(16)
	answer, err := u.send(ctx, request{
		method: http.MethodPost, path: []string{"endentity", name, "setstatus"}, id: o.RequestID(),
		body: status{Password: password, Token: userGenerated, Status: "NEW"},
	})
	switch {
	case err != nil:
		return ra.Issued{}, err
	case answer.Status == http.StatusNotFound:
		return ra.Issued{}, u.undecided(ctx, name, id)
	case !answer.OK() || answer.Status == http.StatusAccepted:
		return ra.Issued{}, refused(answer, u.cfg.Now())
	}
	return u.certify(ctx, o, name, password, block)
}

// undecided asks about the approval of an end entity that isn't there. Without one,
// finalize says how it stands and does nothing.
func (u *Upstream) undecided(ctx context.Context, name string, id int64) error {
	answer, err := u.send(ctx, request{
		method: http.MethodPost, path: []string{"certificate", strconv.FormatInt(id, 10), "finalize"},
		body: struct {
			Format   string `json:"response_format"`
			Password string `json:"password"`
		}{"DER", random(16)},
	})
	switch {
	case err != nil:
		return err
	case answer.Status == http.StatusAccepted:
		return later(name, id, answer)
	case answer.OK():
		return u.client.Unreadable(false, "a certificate for an end entity that isn't there", nil)
	}
	return refused(answer, u.cfg.Now())
}

// random is hexadecimal, of n bytes.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
