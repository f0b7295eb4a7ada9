// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func demoCommand() *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo [--keep]",
		Short: "Shows an enrolment from end to end on this machine",
		Long: `Starts a registration authority on loopback, with files in a temporary folder
and Caddy's own CA behind it, and plays a device: CA certificates by their
fingerprint, CSR attributes, a first certificate with a one-time password and
linked to the TLS channel, what is refused before and after that, a renewal with
a new key, a key made by the server that only the device can open. Then it shows the
audit records.

Nothing is installed on this machine. Afterwards the server is stopped and the
folder removed; with --keep both stay until Ctrl-C, and the lines are printed
that do the same with curl and openssl.`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the server running until Ctrl-C")
	cmd.RunE = exits(func(cmd *cobra.Command, _ []string) error { return demonstrate(cmd, keep) })
	return cmd
}

func demonstrate(cmd *cobra.Command, keep bool) (err error) {
	ctx, release := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer release()
	server, err := prepareDemo()
	if err != nil {
		return err
	}
	defer func() {
		server.stop()
		err = errors.Join(err, os.RemoveAll(server.folder))
	}()
	story := &story{out: cmd.OutOrStdout()}
	device := &demoDevice{server: server}
	if err := play(ctx, story, device); err != nil {
		return refusal{err}
	}
	fmt.Fprintln(story.out, "\nEvery step did what it should.")
	if !keep {
		return nil
	}
	if err := os.WriteFile(server.file("root.pem"), certificatesPEM(device.root), 0o600); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	fmt.Fprintf(story.out, "\nThe server runs until Ctrl-C. The same by hand:\n\n%s\n", fillWords(demoLines, map[string]string{
		"FOLDER": server.folder, "URL": server.url, "ADMIN": server.admin, "CADDY": self,
	}))
	select {
	case <-ctx.Done():
		return nil
	case <-server.ended:
		if ctx.Err() != nil { // Ctrl-C reaches both processes
			return nil
		}
		return refusal{fmt.Errorf("the server has ended by itself:\n%s", server.lastLines())}
	}
}

// play tells the story, step by step, up to the first that fails.
func play(ctx context.Context, s *story, d *demoDevice) error {
	for _, step := range []struct {
		title string
		do    func(context.Context) ([]string, error)
	}{
		{"The operator starts a registration authority", d.start},
		{"The operator reads the fingerprint of the root in the server's storage", d.operator},
		{"The operator makes a password for one device, good once", d.onboard},
		{"The device, which trusts nobody, fetches /cacerts without a credential and compares", d.bootstrap},
		{"The device asks /csrattrs what a request should carry", d.attributes},
		{"A request with that password that isn't linked to its TLS channel is refused", d.unlinked},
		{"Linked, but with a second name that isn't the device's to have, it is refused too", d.overreach},
		{"The device enrolls with its password, linked to the TLS channel", d.enroll},
		{"Somebody else has the password by now, comes with a key of their own, and is refused", d.stolen},
		{"The device renews with its certificate alone, and a new key", d.renew},
		{"The device has a key made by the server, which it alone can open", d.generated},
		{"The audit log has a record of each", d.audit},
	} {
		if err := s.tell(ctx, step.title, step.do); err != nil {
			return err
		}
	}
	return nil
}
