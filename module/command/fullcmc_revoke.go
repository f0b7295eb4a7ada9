// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/estclient"
)

// reasons are the words of a CRLReason (RFC 5280 section 5.3.1).
var reasons = map[string]uint8{
	"unspecified": 0, "keyCompromise": 1, "cACompromise": 2, "affiliationChanged": 3, "superseded": 4,
	"cessationOfOperation": 5, "certificateHold": 6, "removeFromCRL": 8, "privilegeWithdrawn": 9, "aACompromise": 10,
}

func cmcRevoke() *cobra.Command {
	var a cmcAsker
	var serial, issuer, reason, comment string
	cmd := &cobra.Command{
		Use:   "revoke --url <url> --cert <file> --cert-key <file> [<certificate>]",
		Short: "Asks that a certificate be revoked",
		Long: `Asks that a certificate be revoked (RFC 5272 section 6.11): one's own, which signs
the message by --cert, or another's where --cert is that of a registration
authority. It is named by its file, or by --serial and --issuer.

Where its key is lost, a shared secret that the CA keeps for it stands in for the
signature.`,
		Example: `  caddy est client fullcmc revoke --url https://est.example.net --cacert roots.pem \
      --cert device.pem --cert-key device.key --reason keyCompromise device.pem`,
		Args: cobra.MaximumNArgs(1),
	}
	a.flags(cmd, true)
	a.secretFlags(cmd)
	cmd.Flags().StringVar(&serial, "serial", "", "serial number of the certificate, hex, with or without colons")
	cmd.Flags().StringVar(&issuer, "issuer", "", "certificate of the CA that issued it, PEM")
	cmd.Flags().StringVar(&reason, "reason", "unspecified", "why: "+strings.Join(slices.Sorted(maps.Keys(reasons)), ", "))
	cmd.Flags().StringVar(&comment, "comment", "", "why, for people")
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		ask, err := a.request()
		if err != nil {
			return err
		}
		r := cmc.Revocation{Comment: comment}
		var known bool
		if r.Reason, known = reasons[reason]; !known {
			return fmt.Errorf("--reason %q: want one of %s", reason, strings.Join(slices.Sorted(maps.Keys(reasons)), ", "))
		}
		if r.CertID, err = a.toRevoke(&ask, args, serial, issuer); err != nil {
			return err
		}
		switch {
		case ask.Secret == nil && ask.Signer == nil:
			return errors.New("nobody signs the message: give --cert and --cert-key, or the shared secret of the certificate")
		case ask.Secret != nil && ask.Signer == nil:
			ask.MAC = true
			r.Secret = []byte(ask.Secret.Secret)
		case ask.Secret != nil:
			return errors.New("a certificate signs, or a shared secret stands in for it, and not both")
		}
		ask.Revoke = []cmc.Revocation{r}
		done, err := a.send(cmd, ask)
		_, err = a.tell(cmd, done, err)
		return err
	})
	return cmd
}

// toRevoke says which certificate it is. One that is at hand goes along, so that
// the server needs no list of what it has issued.
func (a *cmcAsker) toRevoke(ask *estclient.FullRequest, args []string, serial, issuer string) (id cmc.CertID, err error) {
	if len(args) == 1 == (serial != "" || issuer != "") || (serial == "") != (issuer == "") {
		return id, errors.New("which certificate is it? Give its file, or --serial and --issuer")
	}
	if len(args) == 1 {
		cert, err := readCertificate(args[0])
		if err != nil {
			return id, err
		}
		ask.Others = append(ask.Others, cert)
		return cmc.CertID{Issuer: cert.RawIssuer, Serial: cert.SerialNumber}, nil
	}
	number, ok := new(big.Int).SetString(strings.NewReplacer(":", "", " ", "").Replace(serial), 16)
	if !ok || number.Sign() < 0 {
		return id, fmt.Errorf("--serial %q: want hex digits", serial)
	}
	ca, err := readCertificate(issuer)
	if err != nil {
		return id, err
	}
	return cmc.CertID{Issuer: ca.RawSubject, Serial: number}, nil
}

func cmcQuery() *cobra.Command {
	var a cmcAsker
	var token, transaction, nonce, key string
	cmd := &cobra.Command{
		Use:   "query --url <url> --token <hex> --transaction <hex> [--nonce <hex>] (--key <file> | <CSR>)",
		Short: "Asks what became of a request that waits for a decision",
		Long: `Asks what became of a request that waits for a decision (RFC 5272 section 6.13),
with the values that the answer to it had. The certificate must be for the key
of the request: --key, or that of its CSR. Without --cert and --mac that key
signs the message.`,
		Args: cobra.MaximumNArgs(1),
	}
	a.flags(cmd, true)
	a.secretFlags(cmd)
	a.macFlag(cmd)
	a.output.flags(cmd)
	cmd.Flags().StringVar(&token, "token", "", "pendToken of the answer, hex")
	cmd.Flags().StringVar(&transaction, "transaction", "", "transactionId of the request, hex")
	cmd.Flags().StringVar(&nonce, "nonce", "", "senderNonce of the answer, hex")
	cmd.Flags().StringVar(&key, "key", "", "private key of the request, PEM")
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		ask, err := a.request()
		if err != nil {
			return err
		}
		if ask.Query, err = readQuery(token, transaction, nonce); err != nil {
			return err
		}
		if ask.Wishes, err = queried(key, args); err != nil {
			return err
		}
		if ask.Signer == nil && !ask.MAC && key == "" {
			return errors.New("nobody signs the message: give --key, --cert and --cert-key, or --mac with a shared secret")
		}
		done, err := a.send(cmd, ask)
		return a.finish(cmd, done, err)
	})
	return cmd
}

// readQuery reads what an earlier answer printed.
func readQuery(token, transaction, nonce string) (*estclient.Query, error) {
	if token == "" {
		return nil, errors.New("--token is missing: that of the answer to the request")
	}
	q := new(estclient.Query)
	var err error
	if q.Token, err = hex.DecodeString(token); err != nil {
		return nil, fmt.Errorf("--token %q: want hex digits", token)
	}
	if transaction != "" {
		var ok bool
		if q.Transaction, ok = new(big.Int).SetString(transaction, 16); !ok {
			return nil, fmt.Errorf("--transaction %q: want hex digits", transaction)
		}
	}
	if nonce != "" {
		if q.Nonce, err = hex.DecodeString(nonce); err != nil {
			return nil, fmt.Errorf("--nonce %q: want hex digits", nonce)
		}
	}
	return q, nil
}

// queried is the request that waits.
func queried(key string, args []string) ([]estclient.Wish, error) {
	if (key == "") == (len(args) == 0) {
		return nil, errors.New("whose certificate is it? Give --key, or the CSR")
	}
	if key == "" {
		return requestFiles(args)
	}
	data, err := os.ReadFile(key)
	if err != nil {
		return nil, err
	}
	signer, err := parseKey(key, data)
	if err != nil {
		return nil, err
	}
	return []estclient.Wish{{Key: signer}}, nil
}
