// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/estclient"
)

// generated has a key made for the device, which the device alone can open.
func (d *demoDevice) generated(ctx context.Context) ([]string, error) {
	wanted, err := template("CN="+demoName, []string{demoName})
	if err != nil {
		return nil, err
	}
	d.client.Certificate = &tls.Certificate{Certificate: [][]byte{d.current.Certificate.Raw}, PrivateKey: d.key}
	_, err = d.client.ServerKeygen(ctx, wanted, estclient.DecryptKey{})
	refused, ok := errors.AsType[*estclient.StatusError](err)
	if !ok || refused.Status != http.StatusForbidden {
		return nil, fmt.Errorf("a key in clear wasn't refused: %w", err)
	}
	with, err := estclient.AsymmetricKey(cms.KeyIdentifier(d.current.Certificate), d.key)
	if err != nil {
		return nil, err
	}
	done, err := d.client.ServerKeygen(ctx, wanted, with)
	switch {
	case err != nil:
		return nil, err
	case !done.Encrypted:
		return nil, errors.New("the key came in clear")
	}
	d.asked = append(d.asked, done.RequestID)
	record, _, err := d.server.record(ctx, done.RequestID)
	if err != nil {
		return nil, err
	}
	if record.Made == nil {
		return nil, errors.New("the record says nothing of the key")
	}
	return []string{
		fmt.Sprintf("answer    %d for a key in clear: the policy lets none out", refused.Status),
		"key       " + record.Made.Key + ", made by the server, encrypted for the key of the device's certificate",
		"signed    by " + subjectOf(done.Signer),
		"recorded  of the key: SHA-256 " + record.Made.SPKISHA256,
		"serial    " + audit.Serial(done.Certificate.SerialNumber),
	}, nil
}
