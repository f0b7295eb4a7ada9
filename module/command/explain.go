// SPDX-License-Identifier: Apache-2.0

package command

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/wire"
)

// An explanation holds the flags of `policy explain`.
type explanation struct {
	label, op, csr, renews, at string
	who                        []string
	linked                     bool
}

func explainCommand() *cobra.Command {
	var e explanation
	cmd := &cobra.Command{
		Use:   "explain <file> --csr <file> [--label <label>] [--op <operation>] [--who <who>]... [--renews <file>] [--linked] [--at <time>]",
		Short: "Says what a policy decides of a request, and by which lines",
		Long: `Puts a certification request before a policy file, without a server and without
a CA, and shows the verdict, every finding with its policy line, and the plan.

Who asks is said by --who, which may stand more than once:
  basic:USER            an account of HTTP Basic
  provider:NAME:USER    an account of a 'provider'
  cert:ANCHOR:FILE      a client certificate in PEM or DER that verified under
                        this anchor; again with another anchor for several.
                        Of a file with several, the last is the anchor's own

Nothing of it is verified: it is taken as proven. Exit code 0 is allow, 2 is
any other verdict.`,
		Example: `  caddy est policy explain policy.yaml --csr device.csr --who basic:onboarding
  caddy est policy explain policy.yaml --op simplereenroll --csr new.csr --who cert:ours:device.pem --linked`,
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringVar(&e.label, "label", "", "label of the path; none is the path without one")
	cmd.Flags().StringVar(&e.op, "op", string(policy.SimpleEnroll), "simpleenroll or simplereenroll")
	cmd.Flags().StringVar(&e.csr, "csr", "", "certification request: PEM, DER or base64")
	cmd.Flags().StringArrayVar(&e.who, "who", nil, "who asks (repeatable)")
	cmd.Flags().StringVar(&e.renews, "renews", "", "certificate that a simplereenroll replaces (default: that of --who)")
	cmd.Flags().BoolVar(&e.linked, "linked", false, "the request is bound to its TLS channel (RFC 7030 section 3.5)")
	cmd.Flags().StringVar(&e.at, "at", "", "time of the request, as 2030-01-02T15:04:05Z (default: now)")
	cmd.RunE = exits(e.run)
	return cmd
}

func (e *explanation) run(cmd *cobra.Command, args []string) error {
	req, err := e.request()
	if err != nil {
		return err
	}
	compiled, err := load(cmd, args[0])
	if err != nil {
		return err
	}
	profile, err := profileOf(compiled, e.label)
	if err != nil {
		return err
	}
	if n := int64(len(req.CSR.Raw)); n > compiled.CSRBytes() {
		return refusal{fmt.Errorf("the request has %d bytes, and the policy takes %d", n, compiled.CSRBytes())}
	}
	if err := req.CSR.CheckPOP(); err != nil {
		return refusal{fmt.Errorf("%s: proof of possession failed: %w", e.csr, err)}
	}
	decision := profile.Decide(req)
	fmt.Fprint(cmd.OutOrStdout(), policy.ExplainText(decision, profile.Gate(req.Op, req.Who, req.Now)))
	if decision.Verdict != policy.Allow {
		return errTold
	}
	return nil
}

// request is what the flags say, as the policy is asked it.
func (e *explanation) request() (policy.Request, error) {
	req := policy.Request{Op: policy.Op(e.op), Label: e.label, Now: time.Now()}
	if req.Op != policy.SimpleEnroll && req.Op != policy.SimpleReenroll {
		return req, fmt.Errorf("--op %q: want simpleenroll or simplereenroll", e.op)
	}
	if e.csr == "" {
		return req, errors.New("--csr is missing: the certification request")
	}
	if e.linked {
		req.Linking = policy.Matched
	}
	var err error
	if e.at != "" {
		if req.Now, err = time.Parse(time.RFC3339, e.at); err != nil {
			return req, fmt.Errorf("--at %q: want a time such as 2030-01-02T15:04:05Z", e.at)
		}
	}
	if req.Who, err = identity(e.who); err != nil {
		return req, err
	}
	if e.renews != "" {
		if req.Renews, err = readCertificate(e.renews); err != nil {
			return req, fmt.Errorf("--renews: %w", err)
		}
	} else if req.Op == policy.SimpleReenroll {
		req.Renews = req.Who.Cert
	}
	req.CSR, err = readRequest(e.csr)
	return req, err
}

// readRequest reads a certification request: DER, PEM or base64. A text that
// is none is refused rather than unusable: it was read, and is wrong.
func readRequest(name string) (*csr.Request, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	// A SEQUENCE begins with 0x30, which in base64 of one never stands first.
	if len(data) == 0 || data[0] != 0x30 {
		if data, _, err = wire.DecodeBody(data); err != nil {
			return nil, refusal{fmt.Errorf("%s: %w", name, err)}
		}
	}
	request, err := csr.Parse(data)
	if err != nil {
		return nil, refusal{fmt.Errorf("%s: %w", name, err)}
	}
	return request, nil
}
