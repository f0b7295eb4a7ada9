// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// A judge is one run of Decide.
type judge struct {
	profile  *Profile
	op       *op
	names    nameRules // the operation's, or those of the line that decides
	line     *whoLine  // the line that decides; nil: none holds
	by       Registrar // who brings the request on behalf of another
	input    *celInput
	req      Request   // its CSR with the names that are asked for
	own      csr.Names // of the CSR itself
	findings []Finding
	plan     Plan
	uses     []Use
	// directory is what goes into the subjectDirectoryAttributes.
	directory []csr.Attribute
	// steps are kept for Explain alone.
	steps   []Step
	explain bool
}

// Decide holds a request against the profile. It is pure and total. It goes
// through everything, so that the findings are all that there is to say;
// they are in file order.
func (p *Profile) Decide(req Request) Decision {
	decision, _ := p.decide(req, false)
	return decision
}

// Explain decides, and gives each rule that was asked, in that order.
func (p *Profile) Explain(req Request) (Decision, []Step) { return p.decide(req, true) }

func (p *Profile) decide(req Request, explain bool) (Decision, []Step) {
	operation := p.operations[req.Op]
	if operation == nil {
		return Decision{Profile: p.name, Policy: p.policy, Findings: []Finding{p.notOffered(req.Op)}}, nil
	}
	return p.judge(operation, req, Registrar{}, explain)
}

// judge decides by an operation; by is the zero value where an end entity asks.
func (p *Profile) judge(operation *op, req Request, by Registrar, explain bool) (Decision, []Step) {
	decision := Decision{Profile: p.name, Policy: p.policy}
	if !req.whole() {
		decision.Findings = []Finding{finding(operation.spot, Refused, "", "", "there is no certification request")}
		return decision, nil
	}
	if operation.keygen != nil {
		req.CSR = operation.unkeyed(req.Keyless.Unkeyed())
	}
	j := &judge{
		profile: p, op: operation, names: operation.names, req: req, by: by, explain: explain,
		plan: Plan{Validity: p.validity, Upstream: p.upstream},
	}
	j.requested()
	j.who()
	j.challenge()
	j.linking()
	j.size()
	j.key()
	if operation.keygen == nil {
		j.hygiene() // of a key that is still to be made: CheckMade
	}
	j.planNames()
	if operation.byRA {
		j.bounds()
	}
	j.bound()
	j.attributes()
	j.extensions()
	j.usage()
	j.validity()
	if req.Op.Renews() {
		j.renewal()
	}
	decision.Chain = j.chain()
	if operation.keygen == nil {
		j.keyReuse()
	} else {
		decision.Keygen = j.keygen()
	}
	j.checks()
	approval := j.approval()
	sortFindings(j.findings)
	decision.Findings, decision.Plan, decision.Uses = j.findings, j.plan, j.uses
	switch {
	case slices.ContainsFunc(j.findings, func(f Finding) bool { return f.Class == Broken }):
		decision.Verdict = Fault
	case slices.ContainsFunc(j.findings, Finding.refuses):
	case approval != nil:
		decision.Verdict, decision.Approval = Defer, approval
	default:
		decision.Verdict = Allow
	}
	return decision, j.steps
}

// whole tells whether the request has what its operation decides about. A
// request whose key doesn't count is for /serverkeygen alone.
func (r Request) whole() bool {
	if r.Op == ServerKeygen {
		return r.Keyless != nil && r.CSR == nil
	}
	return r.CSR != nil && r.Keyless == nil
}

// Asked gives the request for people and records: of one to /serverkeygen it
// has neither key nor signature. Nil where there is none.
func (r Request) Asked() *csr.Request {
	if r.Op == ServerKeygen {
		return r.Keyless.Unkeyed()
	}
	return r.CSR
}

func (f Finding) refuses() bool { return f.Effect == Refused || f.Effect == Required }

// Refusal gives the finding that decides what a client is told: who asks
// comes before what is asked, and a key before a name. It is false when
// nothing refuses.
func (d Decision) Refusal() (Finding, bool) {
	order := []Class{Broken, BadIdentity, LinkFailed, LinkMissing, BadRenewal, KeyReuse, BadKey, BadExtension, ByPolicy}
	for _, class := range order {
		for _, f := range d.Findings {
			if f.refuses() && f.Class == class {
				return f, true
			}
		}
	}
	return Finding{}, false
}

func finding(s spot, effect Effect, got, want, format string, args ...any) Finding {
	return Finding{Pos: s.at, Path: s.path, Effect: effect, Got: got, Want: want, Message: fmt.Sprintf(format, args...)}
}

func sortFindings(findings []Finding) {
	slices.SortStableFunc(findings, func(a, b Finding) int { return comparePos(a.Pos, b.Pos) })
}

func (j *judge) add(s spot, effect Effect, class Class, got, want, format string, args ...any) {
	f := finding(s, effect, got, want, format, args...)
	f.Class = class
	j.found(f)
}

func (j *judge) found(f Finding) {
	j.findings = append(j.findings, f)
	j.asked(spot{f.Pos, f.Path}, f.Got, f.Want, string(f.Effect))
}

// asked keeps for Explain that a rule was asked, and what came of it.
func (j *judge) asked(s spot, got, want, outcome string) {
	if j.explain {
		j.steps = append(j.steps, Step{Pos: s.at, Path: s.path, Got: got, Want: want, Outcome: outcome})
	}
}

func (j *judge) refuse(s spot, class Class, got, want, format string, args ...any) {
	j.add(s, Refused, class, got, want, format, args...)
}

func (j *judge) who() {
	line, gate := j.op.gate(asking{profile: j.profile, op: j.op, who: j.req.Who, by: j.by, now: j.req.Now})
	switch {
	case line != nil:
		j.line, j.names = line, line.names
		if j.explain {
			j.asked(line.spot, line.text(j.req.Who), "", "decides")
		}
		j.uses = line.uses(j.req.Who, j.op)
		j.variables()
	case len(gate.Findings) == 0:
		j.refuse(j.op.whoAt, BadIdentity, "", "", "the operation has no line that says who may ask")
	default:
		for _, f := range gate.Findings {
			j.found(f)
		}
	}
}

// variables makes what expressions may ask.
func (j *judge) variables() {
	if !j.profile.expressive {
		return // nothing would ask
	}
	in := &celInput{csr: &celCSR{j.req.CSR}, req: &celReq{j.req, j.profile.name}}
	who, err := j.line.identity(j.req.Who)
	if err != nil {
		j.refuse(j.line.spot, BadIdentity, "", "", "the names of the client certificate can't be read: %s", show(err.Error()))
	}
	in.who = who
	if j.req.Op.Renews() && j.req.Renews != nil {
		if in.prior, err = newCELCert(j.req.Renews); err != nil {
			j.refuse(j.op.spot, BadRenewal, "", "", "the names of the certificate to renew can't be read: %s", show(err.Error()))
		}
	}
	j.input = in
}

// linking: RFC 7030 section 3.5. A value that is there is always verified;
// whether it must be there, the operation says.
func (j *judge) linking() {
	at := j.op.linkAt
	if j.op.byRA {
		// RFC 7030 section 3.7: what ties the device to its connection with the
		// RA can't match the RA's with us.
		j.asked(at, j.req.Linking.String(), "trusted", "holds")
		return
	}
	switch j.req.Linking {
	case Matched:
		j.asked(at, "matched", "", "holds")
	case Unproven:
		if j.op.keygen == nil {
			j.refuse(at, LinkFailed, "unproven", "matched", "the linking value stands in a request whose signature nobody has verified")
			return
		}
		j.asked(at, "unproven", "", "holds")
	case Absent:
		if !j.op.linked {
			j.asked(at, "absent", "if_present", "holds")
		} else {
			j.add(at, Required, LinkMissing, "absent", "matched", "the request has no linking of identity and proof of possession, and it must be there (RFC 7030 section 3.5)")
		}
	case Mismatched:
		j.refuse(at, LinkFailed, "mismatched", "matched", "the linking value in the request is not that of this TLS connection (RFC 7030 section 3.5)")
	case Uncomputable:
		// A resumed TLS 1.2 session without extended master secret has no
		// tls-unique (RFC 5929 section 3, RFC 7627).
		f := finding(at, Refused, "uncomputable", "matched",
			"this TLS connection has no value to compare the request's with (RFC 7030 section 3.5): connect again, by a full handshake with this server")
		f.Class, f.Disclose = LinkFailed, true
		j.found(f)
	default:
		j.refuse(at, LinkFailed, j.req.Linking.String(), "matched", "the result of the linking check is unknown")
	}
}

func (j *judge) size() {
	guard := j.profile.guard
	if got := int64(len(j.req.CSR.Raw)); got > guard.csrBytes {
		j.refuse(guard.csrBytesAt, ByPolicy, fmt.Sprint(got), fmt.Sprintf("at most %d", guard.csrBytes),
			"the request has %d bytes, and at most %d are accepted", got, guard.csrBytes)
	} else if j.explain {
		j.asked(guard.csrBytesAt, "", fmt.Sprintf("at most %d", guard.csrBytes), "holds")
	}
}

// planNames plans subject and SAN together.
func (j *judge) planNames() {
	if !j.evaluated() {
		return
	}
	j.subject()
	j.san()
	names := j.plan.Names
	j.plan.SANCritical = len(names.Subject) == 0
	if len(names.Subject) == 0 && len(names.SAN) == 0 {
		j.refuse(j.profile.spot, ByPolicy, describeNames(j.req.CSR.Names), "", "no name is left for the certificate")
	}
	guard := j.profile.guard
	if got := max(countNames(j.req.CSR.Names), countNames(names)); got > guard.names {
		j.refuse(guard.namesAt, ByPolicy, fmt.Sprint(got), fmt.Sprintf("at most %d", guard.names),
			"there are %d subject attributes and SAN entries, and at most %d are accepted", got, guard.names)
	}
}

func countNames(names csr.Names) int {
	count := len(names.SAN)
	for _, rdn := range names.Subject {
		count += len(rdn)
	}
	return count
}

func describeNames(names csr.Names) string {
	subject := "(empty subject)"
	if len(names.Subject) > 0 {
		subject = names.Subject.String()
	}
	if len(names.SAN) == 0 {
		return show(subject)
	}
	return show(subject + ", " + joinSAN(names.SAN))
}

func describeSAN(san []csr.GeneralName) string {
	if len(san) == 0 {
		return "(no name)"
	}
	return show(joinSAN(san))
}

func joinSAN(san []csr.GeneralName) string {
	parts := make([]string, len(san))
	for i, name := range san {
		parts[i] = name.String()
	}
	return strings.Join(parts, ", ")
}
