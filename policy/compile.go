// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"io/fs"
	"strings"

	"cel.dev/cel-go/cel"
)

// A compiler turns a tree into a Policy. It reads leniently: what has not
// the right kind was found by a checker, and is passed over here.
type compiler struct {
	problems
	files    fs.FS // those that the policy names
	policy   *Policy
	guard    *guardrails
	source   []byte
	envs     map[scope]*cel.Env
	scope    scope           // of what is being read
	ids      map[string]Pos  // of the checks of the profile that is being read
	reads    map[string]bool // attributes whose values its expressions read
	profiled *Profile        // that is being read
	byCMC    bool            // an operation of `fullcmc` is being read
}

// compile reads no other file where files is nil.
func compile(f *File, files fs.FS) (*Policy, problems) {
	c := &compiler{
		files: files, source: f.source,
		policy: &Policy{sha256: f.sha256, root: f.root, labels: map[string]*Profile{}},
	}
	c.file(f.root)
	return c.policy, c.problems
}

func (c *compiler) file(root node) {
	if version, ok := root.get("version").number(); ok && version != 1 {
		c.add(root.get("version").at, "this version reads policy files of version 1, and this is version %d", version)
	}
	name := root.get("name")
	c.policy.name = name.value()
	if _, err := spellText(c.policy.name); err != nil && name.isText() {
		c.add(name.at, "`name` can't be used: %v", err)
	}
	c.guardrails(root.get("guardrails"))
	c.policy.csrBytes = c.guard.csrBytes
	profiles := root.get("profiles")
	for _, n := range profiles.members() {
		c.policy.profiles = append(c.policy.profiles, c.profile(n))
	}
	if profiles.isMap() && len(profiles.members()) == 0 {
		c.add(profiles.at, "a policy has at least one profile")
	}
	if profiles.isMap() {
		c.defaultProfile(root)
	}
	c.reviewGuardrails()
	c.reviewInventory()
	c.otherWays()
	sortFindings(c.policy.lint)
}

// defaultProfile finds the one profile of the path without a label: RFC 7030
// section 3.2.2 demands that it is served.
func (c *compiler) defaultProfile(root node) {
	n := root.get("default")
	labelless, taken := c.policy.labels[""]
	if !n.present() {
		if !taken && len(c.policy.profiles) > 0 {
			c.add(root.at, "no profile serves the path without a label (RFC 7030 section 3.2.2): "+
				"write `default: %s`", c.policy.profiles[0].name)
		}
		c.reachable()
		return
	}
	name := n.value()
	var names []string
	for _, profile := range c.policy.profiles {
		names = append(names, profile.name)
		if profile.name != name {
			continue
		}
		if taken && labelless != profile {
			c.add(n.at, "two profiles would serve the path without a label: `%s` by default, and `%s` by its label \"\"",
				name, labelless.name)
		}
		if !taken {
			profile.labels = append(profile.labels, "")
		}
		c.policy.labels[""] = profile
		c.reachable()
		return
	}
	c.add(n.at, "`default` names the profile %s, which is not in the file%s", quote(name), didYouMean(name, names))
}

func (c *compiler) reachable() {
	for _, profile := range c.policy.profiles {
		if len(profile.labels) == 0 {
			c.add(profile.spot.at, "no path leads to the profile `%s`: it has no label and is not the default", profile.name)
		}
	}
}

func (c *compiler) profile(n node) *Profile {
	p := &Profile{name: n.name, policy: c.policy.name, spot: n.spot(), guard: c.guard, operations: map[Op]*op{}}
	if _, err := spellText(n.name); err != nil {
		c.add(n.at, "%s can't be the name of a profile: %v", quote(n.name), err)
	}
	if n.name == SelfProfile {
		c.add(n.at, "`%s` is the built-in profile of the server's own certificate: a profile of a file has another name", SelfProfile)
	}
	if n.name == ProbeProfile {
		c.add(n.at, "`%s` is the built-in profile of probes of a CA: a profile of a file has another name", ProbeProfile)
	}
	c.labels(p, n.get("labels"))
	c.issues(p, n.get("issues"))
	c.ids, c.reads, c.scope = map[string]Pos{}, map[string]bool{}, profileScope(n)
	p.reads, c.profiled = c.reads, p
	p.names = nameRules{c.subject(n.get("subject")), c.san(n.get("san"))}
	if n.yaml != nil && len(p.names.subject.rules) == 0 && len(p.names.san.rules) == 0 {
		c.add(n.at, "the profile `%s` takes no name at all: it has neither `subject` nor `san`", p.name)
	}
	c.operations(p, n)
	c.scope = profileScope(n)
	p.checks = c.checks(n.get("checks"))
	p.attributes = c.attributes(n.get("attributes"), p.names)
	p.extensions = c.extensions(n.get("extensions"), p)
	p.keys = c.profileKeys(n.get("key"))
	p.usage = c.usage(n.get("usage"), p.keys)
	c.reviewIssues(p)
	c.keygenKey(p, n.get("serverkeygen"))
	c.validity(p, n.get("validity"))
	p.hints = c.hints(n.get("csrattrs"))
	p.upstream, p.upstreamAt = n.get("upstream").value(), n.get("upstream").spot()
	c.filled(n.get("upstream"))
	c.review(p)
	return p
}

// filled wants a text that isn't empty.
func (c *compiler) filled(n node) {
	if n.isText() && n.value() == "" {
		c.add(n.at, "`%s` is empty", n.path)
	}
}

// labels reads the labels. One is compared with the path as it was sent, so
// it has only characters that are never escaped there (RFC 3986 section 2.3).
func (c *compiler) labels(p *Profile, n node) {
	for _, item := range n.texts() {
		label := item.value()
		if problem := labelProblem(label); problem != "" {
			c.add(item.at, "the label %s can't be used: %s", quote(label), problem)
			continue
		}
		if other, taken := c.policy.labels[label]; taken {
			c.add(item.at, "the label %s is already that of the profile `%s`", quote(label), other.name)
			continue
		}
		c.policy.labels[label] = p
		p.labels = append(p.labels, label)
	}
}

func labelProblem(label string) string {
	switch Op(strings.ToLower(label)) {
	case CACerts, SimpleEnroll, SimpleReenroll, FullCMC, ServerKeygen, CSRAttrs, CMCEnroll, CMCReenroll, CMCRevoke:
		return "it is spelled like an operation"
	}
	if label == "." || label == ".." {
		return "it is a dot segment"
	}
	if len(label) > 128 {
		return "it is longer than 128 letters"
	}
	if strings.ContainsFunc(label, func(r rune) bool { return !isLDH(r) && r != '.' && r != '_' && r != '~' }) {
		return "it may have letters, digits and - . _ ~ only"
	}
	return ""
}
