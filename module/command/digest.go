// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-est/estra/ra/digest"
	"github.com/caddy-est/estra/ra/secret"
)

// An accountFlags holds the flags of `digest`.
type accountFlags struct {
	realm, passwordFile string
	md5                 bool
}

func digestCommand() *cobra.Command {
	var a accountFlags
	cmd := &cobra.Command{
		Use:   "digest <user> [--realm <realm>] [--password-file <file>] [--md5]",
		Short: "Makes an account of HTTP Digest",
		Long: `Prints the lines of an account for the file of 'digest FILE' in the Caddyfile:
USER:REALM:ALGORITHM:HASH, where HASH is that of user, realm and password (RFC
7616 section 3.4.2). Who has such a line can log in with it: keep the file as you
would keep the password.

The password is asked for at the terminal, or is the first line of a file. It is
never an argument, which every user of the machine could see.`,
		Example: `  caddy est digest sensor-7 >>digest.txt
  caddy est digest old-printer --md5 --password-file printer.password >>digest.txt`,
		Args: cobra.ExactArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&a.realm, "realm", digest.Realm, "realm of the challenge, the same for all accounts of a file")
	flags.StringVar(&a.passwordFile, "password-file", "", "file whose first line is the password (default: asked for)")
	flags.BoolVar(&a.md5, "md5", false, "a line for MD5 too, which counts where the Caddyfile says `md5`")
	cmd.RunE = exits(a.run)
	return cmd
}

func (a *accountFlags) run(cmd *cobra.Command, args []string) error {
	password, err := a.password(cmd)
	if err != nil {
		return err
	}
	algorithms := []digest.Algorithm{digest.SHA256}
	if a.md5 {
		algorithms = append(algorithms, digest.MD5)
	}
	lines := ""
	for _, algorithm := range algorithms {
		account, err := digest.NewAccount(args[0], a.realm, algorithm, password)
		if err != nil {
			return refusal{err}
		}
		lines += account.Line()
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), lines)
	return err
}

func (a *accountFlags) password(cmd *cobra.Command) (secret.Text, error) {
	if a.passwordFile != "" {
		line, err := firstLine(a.passwordFile)
		return secret.Text(line), err
	}
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", errors.New("there is no terminal to ask for the password: give --password-file")
	}
	var typed [2]secret.Text
	for i, prompt := range []string{"Password: ", "Again: "} {
		cmd.PrintErr(prompt)
		text, err := term.ReadPassword(int(in.Fd()))
		cmd.PrintErrln()
		if err != nil {
			return "", err
		}
		typed[i] = secret.Text(text)
	}
	if typed[0] != typed[1] {
		return "", refusal{errors.New("the two passwords differ")}
	}
	return typed[0], nil
}
