// SPDX-License-Identifier: Apache-2.0

package policy

import "time"

// guardrails are the outer fence of every profile. They only refuse.
type guardrails struct {
	keys       keyRule
	hygiene    hygiene
	csrBytes   int64
	csrBytesAt spot
	names      int
	namesAt    spot
	never      never
	validity   time.Duration // 0 is none
	validityAt spot
	deny       map[sanKey]denyRule
}

const (
	defaultCSRBytes = 16 << 10
	largestCSRBytes = 1 << 20
	defaultNames    = 20
	mostNames       = 1000
)

func (c *compiler) guardrails(n node) {
	g := &guardrails{deny: map[sanKey]denyRule{}}
	c.guard = g
	g.keys = c.keys(n.get("keys"), defaultKeys)
	g.hygiene = c.hygiene(n.get("hygiene"))
	limits := n.get("limits")
	size, names := limits.get("csr_bytes"), limits.get("names")
	g.csrBytes, g.csrBytesAt = defaultCSRBytes, size.spot()
	if bytes, ok := size.size(); ok {
		g.csrBytes = bytes
		if bytes < 1<<10 || bytes > largestCSRBytes {
			c.add(size.at, "`%s` is from 1KiB to 1MiB, and this is %d bytes", size.path, bytes)
		}
	}
	g.names, g.namesAt = defaultNames, names.spot()
	if count, ok := names.number(); ok {
		g.names = count
		if count < 1 || count > mostNames {
			c.add(names.at, "`%s` is from 1 to %d, and this is %d", names.path, mostNames, count)
		}
	}
	longest := n.get("validity").get("max")
	g.validity, _ = longest.duration()
	g.validityAt = longest.spot()
	if _, ok := longest.duration(); ok && g.validity == 0 {
		c.add(longest.at, "`%s` is 0, so that nothing could be issued", longest.path)
	}
	g.never = c.never(n.get("never"))
	for _, list := range c.sanMembers(n.get("deny")) {
		form := list.kind.form.forDeny()
		g.deny[list.kind.key] = denyRule{list.spot(), form, c.patterns(list.node, form)}
	}
}

// patterns compiles a list of patterns of one form.
func (c *compiler) patterns(list node, f form) []pattern { return c.patternsOf(list.texts(), f) }

func (c *compiler) patternsOf(items []node, f form) []pattern {
	patterns := []pattern{}
	for _, item := range items {
		p, err := f.compile(item.value())
		if err != nil {
			c.add(item.at, "the pattern %s of `%s` can match no %s: %v", quote(item.value()), item.path, f.name, err)
			continue
		}
		p.at = item.at
		patterns = append(patterns, p)
	}
	return patterns
}
