// SPDX-License-Identifier: Apache-2.0

// Package policy turns a policy file into decisions.
//
// Parse reads the file, Compile makes a Policy of it, Bind holds that against
// what the Caddyfile offers. One Profile decides a label; Gate and Decide are
// pure: they ask neither clock nor network, and give an answer for any input.
// What a policy doesn't write is refused, and so is everything by the zero
// value of each type here.
package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"slices"
	"time"
)

// SelfProfile is the name of the built-in profile by which a server gets its
// own certificate (ra.Authority.EnrollSelf). No file has a profile of this
// name: audit records and metrics tell the two apart by it.
const SelfProfile = "estra-self"

// A File is a policy file whose text has been read: strict YAML with known
// keys, each with a value of its kind. Compile says whether it makes sense.
type File struct {
	name   string
	sha256 string
	source []byte
	root   node
}

// A Policy is a compiled policy file.
type Policy struct {
	name     string
	sha256   string
	csrBytes int64
	profiles []*Profile
	labels   map[string]*Profile
	lint     []Finding
	lists    []ListFile
	root     node
	// readsData is the first expression that reads what a webhook says.
	readsData spot
}

// A Profile is what decides a label. It is safe for concurrent use once Bind
// has returned.
type Profile struct {
	name       string
	policy     string
	labels     []string
	spot       spot
	operations map[Op]*op
	onBehalf   *op // apart from operations: no name of an operation leads to it
	cmc        cmcRules
	guard      *guardrails
	names      nameRules
	checks     []check
	expressive bool            // some expression is there
	reads      map[string]bool // attributes whose values expressions read
	attributes listRule
	extensions extensionRules
	keys       keyRule
	usage      usage
	validity   time.Duration
	validityAt spot
	longest    time.Duration
	longestAt  spot
	validityBy *expression // of `validity.set`; nil: the default holds
	within     []lifeLimit
	hints      hintRule
	upstream   string
	upstreamAt spot
	issuesRA   bool // issues: ra
	issuesAt   spot
}

// A spot is a line of the policy and what it is about.
type spot struct {
	at   Pos
	path string
}

func (n node) spot() spot { return spot{n.at, n.path} }

// Parse reads a policy file: YAML with only maps, lists and scalars, known
// keys, values of the right kind. name is for messages. The error is either
// one with ErrNotYAML, or Errors with every mistake in file order; then it
// has what Compile would have said too.
func Parse(name string, src []byte) (*File, error) {
	var strict problems
	tree, err := readYAML(name, src, &strict)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(src)
	file := &File{
		name:   name,
		sha256: hex.EncodeToString(sum[:]),
		source: bytes.Clone(src),
		root:   node{yaml: tree, at: nodePos(name, tree)},
	}
	check := checker{wrong: strict}
	check.check(file.root, policyFile)
	if len(check.wrong.found) == 0 {
		return file, nil
	}
	_, meaning := compile(file, nil)
	check.wrong.join(meaning)
	return nil, check.wrong.err()
}

// Compile makes a policy of a file. The error is Errors, with every mistake
// of each file in its order. files has the files that the policy names, each
// by its path from the policy file; nil has none.
func Compile(f *File, files fs.FS) (*Policy, error) {
	if f == nil || !f.root.present() {
		return nil, Errors{{Message: "there is no policy file"}}
	}
	if files == nil {
		files = noFiles{}
	}
	policy, mistakes := compile(f, files)
	if err := mistakes.err(); err != nil {
		return nil, err
	}
	return policy, nil
}

// Name gives the file's `name:`.
func (p *Policy) Name() string { return p.name }

// SHA256 gives the hash of the file's bytes, in hexadecimal.
func (p *Policy) SHA256() string { return p.sha256 }

// Profile gives the profile that serves a label; "" is the path without one.
func (p *Policy) Profile(label string) (*Profile, bool) {
	profile, ok := p.labels[label]
	return profile, ok
}

// Profiles gives all profiles in file order.
func (p *Policy) Profiles() []*Profile { return slices.Clone(p.profiles) }

// CSRBytes gives the largest certification request, in bytes of DER.
func (p *Policy) CSRBytes() int64 { return p.csrBytes }

// MaxValidity gives the longest validity that any profile can plan.
func (p *Policy) MaxValidity() time.Duration {
	var longest time.Duration
	for _, profile := range p.profiles {
		longest = max(longest, profile.longest)
	}
	return longest
}

// Name gives the profile's key in the file.
func (p *Profile) Name() string { return p.name }

// Labels gives the labels that lead to the profile, in file order; "" is the
// path without a label.
func (p *Profile) Labels() []string { return slices.Clone(p.labels) }

// Upstream gives the name of the upstream that issues. It is empty only
// before Bind, where the file leaves it out.
func (p *Profile) Upstream() string { return p.upstream }

// Offers tells whether the profile offers an operation that issues, to end
// entities or to RAs.
func (p *Profile) Offers(name Op) bool {
	if name == FullCMC {
		return p.Offers(CMCEnroll) || p.Offers(CMCReenroll) || p.cmc.revokeOwn || p.cmc.revokeRA
	}
	return p.operations[name] != nil || p.registrarsOf(name) != nil
}

// offered gives what the profile offers, in the order of the language.
func (p *Profile) offered() []*op {
	all := []*op{
		p.operations[SimpleEnroll], p.operations[SimpleReenroll], p.onBehalf, p.operations[ServerKeygen],
		p.operations[CMCEnroll], p.operations[CMCReenroll], p.cmc.onBehalf,
	}
	return slices.DeleteFunc(all, func(o *op) bool { return o == nil })
}
