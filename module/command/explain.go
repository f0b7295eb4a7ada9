// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/report"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/replay"
	"github.com/caddy-est/estra/ra/wire"
)

// An explanation holds the flags of `policy explain`.
type explanation struct {
	label, op, csr, renews, at string
	subject, keyType           string
	san, who                   []string
	data, claims               string
	linked                     bool
	audit, id                  string
	renewed                    int
	enrolled                   string
	format                     string
}

func explainCommand() *cobra.Command {
	var e explanation
	cmd := &cobra.Command{
		Use:   "explain <file> [--csr <file> | --subject <subject> --san <name>... | --audit <log> --id <request id>] [--label <label>] [--op <operation>] [--who <who>]... [--renews <file>] [--renewed <number>] [--enrolled <time>] [--claims <file>] [--data <file>] [--linked] [--at <time>] [--format text|json]",
		Short: "Says what a policy decides of a request, and by which lines",
		Long: `Puts a certification request before a policy file, without a server and without
a CA, and tells the decision so that a reviewer can follow it: the verdict, what
the client would read, each rule in the order it was asked, and the certificate
beside what was asked for.

The request is a file (--csr), or is made from --subject and --san, or is one of
an audit log, by its request id (--audit, --id), with who asked it and when.

Who asks is said by --who, which may stand more than once:
  basic:USER            an account of HTTP Basic
  digest:USER           an account of HTTP Digest
  bearer:NAME:SUBJECT   a token that the 'bearer' of this name has verified
  otp:ID                a one-time password, over HTTP Basic; good for any name
  otp_challenge:ID      the same, as the attribute otpChallenge
  identity_proof:ID     the same, by an identity proof in a CMC message
  device:REGISTRY:STATE:IDENTITY
                        the device that the certificate is of, such as
                        device:routers:expected:serialNumber:4711
  inventory:PROFILE     the profile under which the inventory has the certificate
  provider:NAME:USER    an account of a 'provider'
  cert:ANCHOR:FILE      a client certificate in PEM or DER that verified under
                        this anchor; again with another anchor for several.
                        Of a file with several, the last is the anchor's own.
                        One with id-kp-cmcRA is that of a registration authority
                        (RFC 7030 section 3.7): where on_behalf names it, it asks
                        for others

Nothing of it is verified: it is taken as proven. Exit code 0 is allow, 2 is
any other verdict.`,
		Example: `  caddy est policy explain policy.yaml --csr device.csr --who basic:onboarding
  caddy est policy explain policy.yaml --subject CN=rtr-7.example.net --who basic:onboarding
  caddy est policy explain policy.yaml --op simplereenroll --csr new.csr --who cert:ours:device.pem --linked
  caddy est policy explain policy.yaml --csr device.csr --who cert:ours:site-ra.pem
  caddy est policy explain policy.yaml --audit est-audit.log --id 5f2c0a9e4b7d41c8`,
		Args: cobra.ExactArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&e.label, "label", "", "label of the path; none is the path without one")
	flags.StringVar(&e.op, "op", string(policy.SimpleEnroll), "simpleenroll, simplereenroll, fullcmc.enroll or fullcmc.reenroll")
	flags.StringVar(&e.csr, "csr", "", "certification request: PEM, DER or base64")
	flags.StringVar(&e.subject, "subject", "", "subject of a request that is made, such as CN=rtr-7.example.net")
	flags.StringArrayVar(&e.san, "san", nil, "name of a request that is made: a form and a name, such as dns:rtr-7.example.net (repeatable)")
	flags.StringVar(&e.keyType, "key-type", "P-256", "key of a request that is made: "+keyTypes)
	flags.StringVar(&e.audit, "audit", "", "audit log with the request")
	flags.StringVar(&e.id, "id", "", "request id in the audit log, as X-Request-Id had it")
	flags.StringArrayVar(&e.who, "who", nil, "who asks (repeatable)")
	flags.StringVar(&e.renews, "renews", "", "certificate that a simplereenroll replaces (default: that of --who)")
	flags.IntVar(&e.renewed, "renewed", 0, "how many renewals in a row lead to the client certificate, itself among them")
	flags.StringVar(&e.enrolled, "enrolled", "", "when the enrolment before them was (default: when the client certificate began)")
	flags.StringVar(&e.claims, "claims", "", "file with the claims of the token, a JSON object")
	flags.StringVar(&e.data, "data", "", "file with what the webhook says, a JSON object")
	flags.BoolVar(&e.linked, "linked", false, "the request is bound to its TLS channel (RFC 7030 section 3.5)")
	flags.StringVar(&e.at, "at", "", "time of the request, as 2030-01-02T15:04:05Z (default: now)")
	flags.StringVar(&e.format, "format", "text", "text or json")
	cmd.RunE = exits(e.run)
	return cmd
}

func (e *explanation) run(cmd *cobra.Command, args []string) error {
	if e.format != "text" && e.format != "json" {
		return fmt.Errorf("--format %q: want text or json", e.format)
	}
	req, err := e.request()
	if err != nil {
		return err
	}
	compiled, err := load(cmd, args[0])
	if err != nil {
		return err
	}
	profile, err := profileOf(compiled, req.Label)
	if err != nil {
		return err
	}
	if n := int64(len(req.Asked().Raw)); n > compiled.CSRBytes() {
		return refusal{fmt.Errorf("the request has %d bytes, and the policy takes %d", n, compiled.CSRBytes())}
	}
	told := explain(profile, req)
	text := []byte(told.Text())
	if e.format == "json" {
		if text, err = told.JSON(); err != nil {
			return err
		}
	}
	if _, err := cmd.OutOrStdout().Write(text); err != nil {
		return err
	}
	if told.Decision.Verdict != policy.Allow {
		return errTold
	}
	return nil
}

// explain decides, and says what the client would get: what the gate says
// where it is shut, since nothing is decided then.
func explain(profile *policy.Profile, req policy.Arrival) report.Explanation {
	told := report.Explanation{CSR: req.Asked(), Gate: req.Gate(profile), Status: http.StatusOK, Answer: "the certificate"}
	told.Decision, told.Steps = req.Explain(profile)
	refused := func(e *ra.Error) { told.Status, told.Answer = e.Kind.HTTPStatus(), "\""+e.Public+"\"" }
	switch {
	case !profile.Offers(req.Op):
		refused(ra.Fail(ra.OperationOff, "", nil))
	case told.Gate.Challenge && !told.Gate.Open:
		told.Status, told.Answer = http.StatusUnauthorized, "with a challenge and an empty body"
	case !told.Gate.Open:
		refused(ra.Fail(ra.Forbidden, "", nil))
	case told.Decision.Verdict == policy.Defer:
		told.Status, told.Answer = http.StatusAccepted, "with Retry-After and an empty body, until "+approvers(told.Decision.Approval)
	case told.Decision.Verdict != policy.Allow:
		refused(ra.Refusal(told.Decision))
	}
	return told
}

// approvers says who has to approve.
func approvers(a *policy.Approval) string {
	if a != nil && a.Needs > 1 {
		return fmt.Sprintf("%d people have approved it (`caddy est pending`)", a.Needs)
	}
	return "somebody has approved it (`caddy est pending`)"
}

// request is what the flags say, as the policy is asked it.
func (e *explanation) request() (policy.Arrival, error) {
	if (e.audit == "") != (e.id == "") {
		return policy.Arrival{}, errors.New("--audit and --id go together: the log, and the request in it")
	}
	made := e.subject != "" || len(e.san) > 0
	sources := 0
	for _, is := range []bool{e.csr != "", made, e.audit != ""} {
		if is {
			sources++
		}
	}
	switch {
	case sources == 0:
		return policy.Arrival{}, errors.New("--csr is missing: the certification request; or --subject and --san to make one, or --audit and --id")
	case sources > 1:
		return policy.Arrival{}, errors.New("--csr, --subject with --san, and --audit: only one of them")
	case e.audit != "":
		return e.recorded()
	}
	req, err := e.circumstances()
	if err != nil {
		return req, err
	}
	der, err := e.der(made)
	if err != nil {
		return req, err
	}
	if req.Op == policy.ServerKeygen {
		req.Keyless, err = csr.ParseKeyless(der)
	} else {
		req.CSR, err = csr.Parse(der)
	}
	if err != nil {
		return req, refusal{fmt.Errorf("%s: %w", e.csr, err)}
	}
	if req.Keyless == nil {
		if err := req.CSR.CheckPOP(); err != nil {
			return req, refusal{fmt.Errorf("%s: proof of possession failed: %w", e.csr, err)}
		}
	}
	return req, nil
}

// der is the request of --csr, or one that is made.
func (e *explanation) der(made bool) ([]byte, error) {
	if made {
		return e.make()
	}
	return readDER(e.csr)
}

// circumstances are all but the CSR.
func (e *explanation) circumstances() (policy.Arrival, error) {
	req := policy.Arrival{Request: policy.Request{Op: policy.Op(e.op), Label: e.label, Now: time.Now()}}
	switch req.Op {
	case policy.SimpleEnroll, policy.SimpleReenroll, policy.ServerKeygen, policy.CMCEnroll, policy.CMCReenroll:
	default:
		return req, fmt.Errorf("--op %q: want simpleenroll, simplereenroll, serverkeygen, fullcmc.enroll or fullcmc.reenroll", e.op)
	}
	if e.linked {
		req.Linking = policy.Matched
		if req.Op == policy.ServerKeygen {
			req.Linking = policy.Unproven
		}
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
	if req.Chain, err = e.chain(req.Who.Cert); err != nil {
		return req, err
	}
	if e.claims != "" {
		if req.Who.Claims, err = readFacts(e.claims); err != nil {
			return req, err
		}
	}
	if e.data != "" {
		if req.Who.Data, err = readFacts(e.data); err != nil {
			return req, err
		}
	}
	// The anchors are taken as proven, and so is that they make RAs.
	req.By, _ = policy.NewRegistrar(req.Who, req.Who.Anchors)
	if e.renews != "" {
		if req.Renews, err = readCertificate(e.renews); err != nil {
			return req, fmt.Errorf("--renews: %w", err)
		}
	} else if req.Op.Renews() {
		req.Renews = req.Who.Cert
	}
	return req, nil
}

// chain is how the client certificate goes back to an enrolment; nil: nothing is
// said of it.
func (e *explanation) chain(cert *x509.Certificate) (*policy.Chain, error) {
	if e.renewed == 0 && e.enrolled == "" {
		return nil, nil
	}
	if cert == nil || e.renewed < 0 {
		return nil, errors.New("--renewed and --enrolled: want a number from 0, and the client certificate that was renewed, by --who cert:ANCHOR:FILE")
	}
	var since time.Time
	if e.enrolled != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, e.enrolled); err != nil {
			return nil, fmt.Errorf("--enrolled %q: want a time such as 2030-01-02T15:04:05Z", e.enrolled)
		}
	}
	return policy.ChainOf(cert, e.renewed, since), nil
}

// readFacts reads a JSON object.
func readFacts(name string) (policy.Facts, error) {
	source, err := os.ReadFile(name)
	if err != nil {
		return policy.Facts{}, err
	}
	facts, err := policy.ParseFacts(source)
	if err != nil {
		return facts, refusal{fmt.Errorf("%s: %w", name, err)}
	}
	return facts, nil
}

// make makes a request with a key that is thrown away.
func (e *explanation) make() ([]byte, error) {
	key, err := makeKey(e.keyType)
	if err != nil {
		return nil, fmt.Errorf("--key-type: %w", err)
	}
	var t estclient.Template
	if e.subject != "" {
		if t.Names.Subject, err = parseSubject(e.subject); err != nil {
			return nil, err
		}
	}
	if t.Names.SAN, err = parseSAN(e.san); err != nil {
		return nil, err
	}
	t.Names.HasSAN, t.SANCritical = len(t.Names.SAN) > 0, e.subject == ""
	return estclient.Request(rand.Reader, key, t, "")
}

// recorded is a request of an audit log.
func (e *explanation) recorded() (policy.Arrival, error) {
	log, err := os.Open(e.audit)
	if err != nil {
		return policy.Arrival{}, err
	}
	defer log.Close() //nolint:errcheck // it was only read
	record, err := replay.Find(log, e.id)
	if err != nil {
		return policy.Arrival{}, fmt.Errorf("%s: %w", e.audit, err)
	}
	if record == nil {
		return policy.Arrival{}, refusal{fmt.Errorf("%s: there is no record of the request %q", e.audit, e.id)}
	}
	req, err := replay.Request(record)
	if err != nil {
		return req, refusal{fmt.Errorf("%s: the request %s: %w", e.audit, e.id, err)}
	}
	return req, nil
}

// readDER reads a certification request: DER, PEM or base64. A text that
// is none is refused rather than unusable: it was read, and is wrong.
func readDER(name string) ([]byte, error) {
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
	return data, nil
}
