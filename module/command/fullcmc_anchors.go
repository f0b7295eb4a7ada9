// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/ra/estclient"
)

// sequenceLine begins a file of published anchors. PEM readers pass over it.
const sequenceLine = "# sequence number "

func (a *cmcAsker) anchorsFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.anchorsOut, "anchors-out", "", "file for the trust anchors that the answer publishes, PEM; kept where it has newer ones")
}

// tellAnchors shows the trust anchors that a verified answer publishes.
func tellAnchors(cmd *cobra.Command, done *estclient.FullAnswer) {
	if done.AnchorsRefused != nil {
		cmd.PrintErrln("The trust anchors in the answer don't count: " + done.AnchorsRefused.Error())
	}
	if done.Anchors == nil {
		return
	}
	cmd.PrintErrln("The answer publishes trust anchors, with the sequence number " + done.Anchors.Sequence.String() + ":")
	for _, c := range done.Anchors.Certificates {
		cmd.PrintErrln(fmt.Sprintf("  %s, SHA-256 %x", subjectOf(c), sha256.Sum256(c.Raw)))
	}
}

// keepAnchors writes them to the file that is for them.
func (a *cmcAsker) keepAnchors(done *estclient.FullAnswer) error {
	switch {
	case a.anchorsOut == "" || done == nil:
		return nil
	case done.Anchors == nil:
		return errors.New("--anchors-out: the answer publishes no trust anchors that count; " + a.anchorsOut + " is as it was")
	}
	if err := notOlder(a.anchorsOut, done.Anchors.Sequence); err != nil {
		return fmt.Errorf("--anchors-out: %w", err)
	}
	text := []byte(sequenceLine + done.Anchors.Sequence.String() + "\n")
	for _, c := range done.Anchors.Certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return os.WriteFile(a.anchorsOut, text, 0o644) //nolint:gosec // certificates are public
}

// notOlder: RFC 5272 section 6.15 takes trust anchors in the place of others only
// by a later number. The same number may stand for the same once more.
func notOlder(file string, sequence *big.Int) error {
	old, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	line, _, _ := strings.Cut(string(old), "\n")
	number, ours := strings.CutPrefix(strings.TrimSpace(line), strings.TrimSpace(sequenceLine))
	before, ok := new(big.Int).SetString(strings.TrimSpace(number), 10)
	if !ours || !ok {
		return fmt.Errorf("%s is not written over: it doesn't begin with a line %q and a number, so this command didn't make it", file, strings.TrimSpace(sequenceLine))
	}
	if sequence.Cmp(before) < 0 {
		return fmt.Errorf("%s is as it was: it has the sequence number %s, and the answer's %s is older", file, before, sequence)
	}
	return nil
}
