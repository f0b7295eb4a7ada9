// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/module"
)

// mostImported is how many certificates go in one request.
const mostImported = 2000

// certificateSuffixes are those of files that are read.
var certificateSuffixes = []string{".pem", ".crt", ".cer", ".der"}

// A fileCertificate is a certificate, and where it is from.
type fileCertificate struct {
	file string
	cert *x509.Certificate
}

// fileCertificates are a JSON list of DER.
type fileCertificates []fileCertificate

func (l fileCertificates) MarshalJSON() ([]byte, error) {
	ders := make([][]byte, len(l))
	for i, c := range l {
		ders[i] = c.cert.Raw
	}
	return json.Marshal(ders)
}

func certsImport() *cobra.Command {
	var k keeper
	var upstream, profile string
	cmd := &cobra.Command{
		Use:   "import --upstream <name> [--profile <name>] <folder or file>...",
		Short: "Puts certificates into the inventory that were issued before",
		Long: `Reads certificates, from files or from the .pem, .crt, .cer and .der files under a
folder, and puts them into the inventory of the running server as issued by an
upstream: so they can be listed, blocked and revoked. The server holds each to the
issuing certificates of that CA, of now and before. CA certificates are left out,
and so is what another CA has issued: its file is named, and the exit code is 2.

With --profile they count as issued under that profile.`,
		Example: `  caddy est certs import --upstream step_ca --profile routers /var/lib/libest/certs`,
		Args:    cobra.MinimumNArgs(1),
	}
	cmd.Flags().StringVar(&upstream, "upstream", "", "CA that has issued them")
	cmd.Flags().StringVar(&profile, "profile", "", "profile that they count for")
	k.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		if upstream == "" {
			return errors.New("--upstream is missing: the CA that has issued the certificates")
		}
		if k.direct() {
			return errors.New("the running server imports, since it knows the CA's issuing certificates: leave out --store")
		}
		var total module.ImportedCertificates
		found, foreign := 0, 0
		path := "/est/certs/import?" + url.Values{"upstream": {upstream}, "profile": {profile}}.Encode()
		err := eachCertificate(args, func(list []fileCertificate) error {
			found += len(list)
			var done module.ImportedCertificates
			if err := k.ask(http.MethodPost, path, fileCertificates(list), &done); err != nil {
				return err
			}
			total.Added += done.Added
			total.Known += done.Known
			foreign += len(done.Foreign)
			for _, i := range done.Foreign {
				if i < len(list) {
					cmd.PrintErrf("%s: %s has another issuer, and is left out\n", list[i].file, subjectOf(list[i].cert))
				}
			}
			return nil
		})
		switch {
		case err != nil:
			return err
		case found == 0:
			return refusal{fmt.Errorf("no certificate of a device is in %s", strings.Join(args, ", "))}
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %d new, %d there already, %d of other CAs left out\n", upstream, total.Added, total.Known, foreign)
		if foreign > 0 {
			return errTold
		}
		return nil
	})
	return cmd
}

// eachCertificate reads files and those of folders, and gives the certificates
// that are no CA's, some at a time.
func eachCertificate(places []string, take func([]fileCertificate) error) error {
	var list []fileCertificate
	flush := func() error {
		if len(list) == 0 {
			return nil
		}
		err := take(list)
		list = nil
		return err
	}
	read := func(file string, named bool) error {
		if !named && !hasCertificate(file) {
			return nil // such as a key
		}
		certs, err := readCertificates(file)
		if err != nil {
			return refusal{fmt.Errorf("%s: %w", file, err)}
		}
		for _, cert := range certs {
			if !cert.IsCA {
				list = append(list, fileCertificate{file, cert})
			}
		}
		if len(list) < mostImported {
			return nil
		}
		return flush()
	}
	for _, place := range places {
		err := filepath.WalkDir(place, func(file string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil || entry.IsDir():
				return err
			case file != place && !slices.Contains(certificateSuffixes, strings.ToLower(filepath.Ext(file))):
				return nil
			default:
				return read(file, file == place)
			}
		})
		if err != nil {
			return err
		}
	}
	return flush()
}

// hasCertificate tells whether a file holds no PEM, and so may be one in DER, or has
// a certificate in it.
func hasCertificate(file string) bool {
	data, err := os.ReadFile(file)
	return err != nil || !bytes.Contains(data, []byte("-----BEGIN ")) || bytes.Contains(data, []byte("-----BEGIN CERTIFICATE-----"))
}
