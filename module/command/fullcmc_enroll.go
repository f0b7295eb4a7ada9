// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/estclient"
)

func cmcEnroll() *cobra.Command {
	var a cmcAsker
	var h holder
	var crmf bool
	cmd := &cobra.Command{
		Use:   "enroll --url <url> --key <file> --subject <name>",
		Short: "Asks for a first certificate, for oneself or for another",
		Example: `  caddy est client fullcmc enroll --url https://est.example.net --cacert roots.pem \
      --identification k3q7a2mlfw --secret-file password --key device.key \
      --subject "CN=dev-7.devices.example.net" --san dev-7.devices.example.net --out device.pem`,
		Args: cobra.NoArgs,
	}
	a.flags(cmd, true)
	a.secretFlags(cmd)
	a.macFlag(cmd)
	a.keyFlags(cmd)
	a.output.flags(cmd)
	h.flags(cmd)
	crmfFlag(cmd, &crmf)
	a.anchorsFlag(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		template, err := h.template()
		if err != nil {
			return err
		}
		ask, err := a.request()
		if err != nil {
			return err
		}
		return a.ask(cmd, ask, h.key, estclient.Wish{Template: template, CRMF: crmf})
	})
	return cmd
}

func crmfFlag(cmd *cobra.Command, crmf *bool) {
	cmd.Flags().BoolVar(crmf, "crmf", false, "write the request as CRMF (RFC 4211), and not as PKCS #10")
}

// ask sends one request for the key in a file, which is made where it isn't
// there.
func (a *cmcAsker) ask(cmd *cobra.Command, ask estclient.FullRequest, key string, wish estclient.Wish) error {
	client, err := a.open(cmd)
	if err != nil {
		return err
	}
	if wish.Key, err = a.key(cmd.Context(), client, key); err != nil {
		return err
	}
	ask.Wishes = []estclient.Wish{wish}
	done, err := exchange(cmd, client, ask)
	err = a.finish(cmd, done, err)
	return worse(err, a.keepAnchors(done))
}

func cmcRenew() *cobra.Command {
	var a cmcAsker
	var newKey string
	var crmf bool
	cmd := &cobra.Command{
		Use:   "renew --url <url> --cert <file> --key <file> --new-key <file>",
		Short: "Renews a certificate, which signs the message",
		Example: `  caddy est client fullcmc renew --url https://est.example.net --cacert roots.pem \
      --cert device.pem --key device.key --new-key device-2.key --out device-2.pem`,
		Args: cobra.NoArgs,
	}
	a.flags(cmd, false)
	a.keyFlags(cmd)
	a.output.flags(cmd)
	cmd.Flags().StringVar(&a.cert, "cert", "", "current certificate, PEM")
	cmd.Flags().StringVar(&a.certKey, "key", "", "its private key, PEM")
	cmd.Flags().StringVar(&newKey, "new-key", "", "private key of the new certificate, PEM; made where there is no such file (default: the same key)")
	crmfFlag(cmd, &crmf)
	a.anchorsFlag(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		ask, err := a.request()
		if err != nil {
			return err
		}
		if ask.Signer == nil {
			return errors.New("--cert and --key are missing: the certificate to renew, and its key")
		}
		leaf, err := leafOf(ask.Signer)
		if err != nil {
			return err
		}
		names, err := csr.NamesOf(leaf)
		if err != nil {
			return fmt.Errorf("%s: %w", a.cert, err)
		}
		if newKey == "" {
			newKey = a.certKey
		}
		return a.ask(cmd, ask, newKey, estclient.Wish{Template: estclient.Template{Names: names}, CRMF: crmf, KeepNames: true})
	})
	return cmd
}

func cmcBatch() *cobra.Command {
	var a cmcAsker
	var dir string
	cmd := &cobra.Command{
		Use:   "batch --url <url> --cert <file> --cert-key <file> <CSR>...",
		Short: "Asks in one message for what several CSR files want",
		Long: `Asks in one message for the certificates that PKCS #10 files want, as a
registration authority does for others. Each is granted or refused by itself;
exit code 2 where one was not granted.`,
		Example: `  caddy est client fullcmc batch --url https://est.example.net --cacert roots.pem \
      --cert ra.pem --cert-key ra.key --out-dir issued a.csr b.csr`,
		Args: cobra.MinimumNArgs(1),
	}
	a.flags(cmd, true)
	a.secretFlags(cmd)
	a.macFlag(cmd)
	a.output.flags(cmd)
	cmd.Flags().StringVar(&dir, "out-dir", "", "folder for the certificates, each in a file with the name of its CSR and .pem")
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		ask, err := a.request()
		if err != nil {
			return err
		}
		if ask.Signer == nil && !ask.MAC {
			return errors.New("nobody signs the message: give --cert and --cert-key, or --mac with a shared secret")
		}
		if ask.Wishes, err = requestFiles(args); err != nil {
			return err
		}
		files, err := certificateFiles(dir, args)
		if err != nil {
			return err
		}
		done, err := a.send(cmd, ask)
		if dir == "" {
			return a.finish(cmd, done, err)
		}
		return a.finishEach(cmd, done, err, files)
	})
	return cmd
}

// send sends a message for which no key is to be made.
func (a *cmcAsker) send(cmd *cobra.Command, ask estclient.FullRequest) (*estclient.FullAnswer, error) {
	client, err := a.open(cmd)
	if err != nil {
		return nil, err
	}
	return exchange(cmd, client, ask)
}

func exchange(cmd *cobra.Command, client *estclient.Client, ask estclient.FullRequest) (*estclient.FullAnswer, error) {
	done, err := client.FullCMC(cmd.Context(), ask)
	if err != nil {
		err = outcome(err)
	}
	return done, err
}

// requestFiles reads the CSRs.
func requestFiles(names []string) ([]estclient.Wish, error) {
	wishes := make([]estclient.Wish, len(names))
	for i, name := range names {
		der, err := readDER(name)
		if err != nil {
			return nil, err
		}
		if _, err := csr.Parse(der); err != nil {
			return nil, refusal{fmt.Errorf("%s: %w", name, err)}
		}
		wishes[i].CSR = der
	}
	return wishes, nil
}

// certificateFiles says where each certificate goes. None may take the place of
// another, or of a CSR.
func certificateFiles(dir string, requests []string) ([]string, error) {
	if dir == "" {
		return nil, nil
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("--out-dir %s: there is no such folder", dir)
	}
	files := make([]string, len(requests))
	of := map[string]string{}
	for _, request := range requests {
		place, err := filepath.Abs(request)
		if err != nil {
			return nil, err
		}
		of[place] = request
	}
	for i, request := range requests {
		name := filepath.Base(request)
		files[i] = filepath.Join(dir, strings.TrimSuffix(name, filepath.Ext(name))+".pem")
		place, err := filepath.Abs(files[i])
		if err != nil {
			return nil, err
		}
		if other, taken := of[place]; taken {
			return nil, fmt.Errorf("--out-dir %s: the certificate for %s would be written over %s, or over the certificate for it", dir, request, other)
		}
		of[place] = request
	}
	return files, nil
}

// finishEach writes each certificate to a file of its own.
func (a *cmcAsker) finishEach(cmd *cobra.Command, done *estclient.FullAnswer, err error, files []string) error {
	_, err = a.tell(cmd, done, err)
	if done == nil {
		return err
	}
	for i, name := range files {
		if one := done.Parts[i].Enrolled; one != nil {
			err = worse(err, write(cmd, name, a.pem(one)))
		}
	}
	return err
}
