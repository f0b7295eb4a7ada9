// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/caddy-est/estra/ra/upstream"
)

// Another gives a certificate in place of one.
type Another = func(*x509.Certificate) *x509.Certificate

// ReissuePEM is CA.Reissue where the answer is PEM.
func ReissuePEM(answer []byte, another Another) ([]byte, error) {
	certs, err := upstream.Certificates(answer)
	if err != nil {
		return nil, err
	}
	return CertificatePEM(another(certs[0])), nil
}

// ReissueJSON is one where the answer is JSON, with PEM in a member, or base64 of DER.
func ReissueJSON(path ...string) func([]byte, Another) ([]byte, error) {
	return func(answer []byte, another Another) ([]byte, error) {
		var whole map[string]any
		if err := json.Unmarshal(answer, &whole); err != nil {
			return nil, err
		}
		inner := whole
		for _, name := range path[:len(path)-1] {
			next, ok := inner[name].(map[string]any)
			if !ok {
				return nil, fmt.Errorf("the answer has no object %s", name)
			}
			inner = next
		}
		last := path[len(path)-1]
		text, ok := inner[last].(string)
		if !ok {
			return nil, fmt.Errorf("the answer has no text %s", last)
		}
		changed, err := reissueText(text, another)
		if err != nil {
			return nil, err
		}
		inner[last] = changed
		return json.Marshal(whole)
	}
}

func reissueText(text string, another Another) (string, error) {
	if der, err := base64.StdEncoding.DecodeString(text); err == nil {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return "", err
		}
		return base64.StdEncoding.EncodeToString(another(cert).Raw), nil
	}
	changed, err := ReissuePEM([]byte(text), another)
	if err != nil {
		return "", errors.Join(errors.New("the text is neither PEM nor base64 of DER"), err)
	}
	return string(changed), nil
}
