// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/store"
)

func deviceCommand() *cobra.Command {
	return group("device <command>", "Works with device registries", deviceImport(), deviceList(),
		deviceState("block", "Blocks a device: it gets nothing more, from now on",
			"A request of the device is refused from now on, with its IDevID and with any\ncertificate that it was issued through the registry. Those certificates are not revoked.",
			store.Devices.Block),
		deviceState("rearm", "Lets a device have a first certificate again",
			"The device is expected again, as if it had just been imported: after a repair,\na reset, or a block that was a mistake.",
			store.Devices.Rearm))
}

// imported is the answer to an import.
type imported struct{ Added, Known int }

// UnmarshalJSON implements json.Unmarshaler.
func (i *imported) UnmarshalJSON(data []byte) error {
	var in struct{ Added, Known int }
	err := json.Unmarshal(data, &in)
	*i = imported(in)
	return err
}

func deviceImport() *cobra.Command {
	var k keeper
	var registry, issuer, keyEnv string
	cmd := &cobra.Command{
		Use:   "import --registry <name> [--issuer <file or key id>] <list.csv>",
		Short: "Puts the devices of a list into a registry",
		Long: `Reads CSV whose first line names its columns: 'issuer', one of 'serial_number',
'hardware_module_name' (TYPE:SERIAL, an OID and hexadecimal) and 'permanent_identifier'
(ASSIGNER:VALUE), and 'note'. The issuer is the key identifier of the CA that has
issued the IDevIDs; --issuer names it once for all, as hexadecimal or by the CA's
certificate.

Keys that a device decrypts server-generated keys with: 'decrypt_key_id' (hexadecimal)
and 'decrypt_key' (an AES key, base64); 'asymm_decrypt_key_id' and 'asymm_decrypt_key'
(a certificate or a public key, DER in base64; without an identifier a certificate's
subjectKeyIdentifier counts); and 'pkcs12_password', for keys in a PKCS #12. The running
server keeps AES keys and passwords encrypted under its 'registry_key'; with --store, --registry-key-env has that key.

New devices are expected. Those that are there keep their state.`,
		Example: `  caddy est device import --registry branch-routers --issuer acme-idevid-ca.pem list.csv`,
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&registry, "registry", "", "registry of the Caddyfile")
	cmd.Flags().StringVar(&issuer, "issuer", "", "issuer of the IDevIDs: file of its certificate, or its key identifier")
	cmd.Flags().StringVar(&keyEnv, "registry-key-env", "", "with --store: environment variable that holds the registry key")
	k.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		if registry == "" {
			return errors.New("--registry is missing: the registry that the devices go into")
		}
		seal, err := registrySealer(k.file, keyEnv)
		if err != nil {
			return err
		}
		issuer, err := issuerKey(issuer)
		if err != nil {
			return err
		}
		file, err := os.Open(args[0])
		if err != nil {
			return err
		}
		defer file.Close() //nolint:errcheck // it was only read
		list, err := store.ReadDevices(file, issuer)
		if err != nil {
			return refusal{fmt.Errorf("%s: %w", args[0], err)}
		}
		var done imported
		err = k.use(cmd.Context(), func(s store.Store) (err error) {
			if err := seal.Seal(registry, list); err != nil {
				return refusal{err}
			}
			done.Added, done.Known, err = s.Devices().Import(cmd.Context(), registry, list, time.Now())
			return err
		}, http.MethodPost, query("/est/devices", "registry", registry), store.DevicesJSON(list), &done)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %d new, %d there already\n", registry, done.Added, done.Known)
		return nil
	})
	return cmd
}

// registrySealer is for a store that no server has open.
func registrySealer(file, env string) (store.Sealer, error) {
	switch {
	case env == "":
		return store.Sealer{}, nil
	case file == "":
		return store.Sealer{}, errors.New("--registry-key-env goes with --store: a running server has its own registry key")
	}
	seal, err := store.NewSealer(secret.Text(os.Getenv(env)))
	if err != nil {
		return seal, fmt.Errorf("--registry-key-env %s: %w", env, err)
	}
	return seal, nil
}

// issuerKey reads --issuer.
func issuerKey(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	if _, err := os.Stat(text); err != nil {
		return store.KeyID(text)
	}
	cert, err := readCertificate(text)
	if err != nil {
		return "", err
	}
	if len(cert.SubjectKeyId) == 0 {
		return "", fmt.Errorf("%s: the certificate has no subjectKeyIdentifier", text)
	}
	return hex.EncodeToString(cert.SubjectKeyId), nil
}

func deviceList() *cobra.Command {
	var k keeper
	var registry string
	cmd := &cobra.Command{
		Use:   "list [--registry <name>]",
		Short: "Lists devices with their states",
		Long:  `Lists devices: expected (no certificate yet), enrolled, or blocked.`,
		Args:  cobra.NoArgs,
	}
	cmd.Flags().StringVar(&registry, "registry", "", "only those of this registry")
	k.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error {
		var list store.DevicesJSON
		err := k.use(cmd.Context(), func(s store.Store) (err error) {
			list, err = s.Devices().List(cmd.Context(), registry)
			return err
		}, http.MethodGet, query("/est/devices", "registry", registry), nil, &list)
		if err != nil {
			return err
		}
		w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "REGISTRY\tSTATE\tSINCE\tIDENTITY\tISSUER\tNOTE")
		for _, d := range list {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Registry, d.State, instant(d.Changed), d.Identity, d.Issuer, d.Note)
		}
		return w.Flush()
	})
	return cmd
}

func deviceState(verb, short, long string, act func(store.Devices, context.Context, store.Device, time.Time) error) *cobra.Command {
	var k keeper
	var registry, issuer string
	cmd := &cobra.Command{
		Use:   verb + " --registry <name> [--issuer <file or key id>] <serial number or identity>",
		Short: short,
		Long:  long,
		Args:  cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&registry, "registry", "", "registry of the device")
	cmd.Flags().StringVar(&issuer, "issuer", "", "issuer of its IDevID, where two have a device of that identity: file of its certificate, or its key identifier")
	k.flags(cmd)
	cmd.RunE = exits(func(cmd *cobra.Command, args []string) error {
		if registry == "" {
			return errors.New("--registry is missing: the registry of the device")
		}
		issuer, err := issuerKey(issuer)
		if err != nil {
			return err
		}
		identity := args[0]
		if kind, _, _ := strings.Cut(identity, ":"); kind != "hardwareModuleName" && kind != "permanentIdentifier" && kind != "serialNumber" {
			identity = policy.SerialIdentity(identity)
		}
		device := store.Device{Registry: registry, Issuer: issuer, Identity: identity}
		err = k.use(cmd.Context(), func(s store.Store) error { return act(s.Devices(), cmd.Context(), device, time.Now()) },
			http.MethodPost, "/est/devices/"+verb, store.DevicesJSON{device}, nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s %s\n", verb, registry, identity)
		return nil
	})
	return cmd
}
