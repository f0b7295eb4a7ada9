// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
)

// celIssues reports what CEL says, at the place in the policy file.
func (c *compiler) celIssues(n node, s scope, env *cel.Env, issues *cel.Issues) {
	source, _ := n.text()
	for _, issue := range issues.Errors() {
		at := c.placeIn(n, issue.Location.Line(), issue.Location.Column())
		c.add(at, "`%s`: %s", n.path, celMessage(issue, s, env, source))
	}
}

// celNames are what an expression most often begins with, or calls.
var celNames = []string{
	"csr", "who", "req", "plan", "prior", "warned", "startsWith", "endsWith", "contains", "matches", "size", "all", "exists",
	"exists_one", "filter", "map", "has", "duration", "timestamp", "string", "int", "lowerAscii", "split", "join", "replace", "substring",
}

// An overload is what CEL says of an operator that has no meaning for the
// types beside it.
var overload = regexp.MustCompile(`^found no matching overload for '_?([^_'\[]+)_?' applied to '\(([^()]+), ([^()]+)\)'`)

// celMessage says a mistake in our words, with the nearest name.
func celMessage(issue *cel.Error, s scope, env *cel.Env, source string) string {
	message, _, _ := strings.Cut(issue.Message, "\n")
	quoted := func(prefix string) (string, bool) {
		rest, ok := strings.CutPrefix(message, prefix)
		name, _, closed := strings.Cut(rest, "'")
		return name, ok && closed
	}
	if name, ok := quoted("undefined field '"); ok {
		if name == "cert" && !s.cert {
			return "who.cert is there only where each line of `who` that can decide demands a client certificate"
		}
		return fmt.Sprintf("there is no field %s here%s", quote(name), fieldHint(name, fieldsAt(env, source, issue.ExprID)))
	}
	if name, ok := quoted("undeclared reference to '"); ok {
		switch name {
		case "prior":
			return "prior is there only under reenroll: it is the certificate being renewed"
		case "plan":
			return "plan is there only in checks and in approve_when: it is made by what `set` says"
		case "warned":
			return "warned is there only in approve_when: it has the ids of the checks that warn"
		}
		return fmt.Sprintf("there is nothing called %s here%s", quote(name), didYouMean(name, celNames))
	}
	if m := overload.FindStringSubmatch(message); m != nil {
		return fmt.Sprintf("`%s` has no meaning between %s and %s", m[1], m[2], m[3])
	}
	message, _, _ = strings.Cut(strings.TrimPrefix(message, "Syntax error: "), " expecting {")
	return show(strings.Replace(message, "mismatched input '<EOF>'", "the expression ends too early", 1))
}

// fieldsAt gives the fields of the value from which an expression takes one that
// isn't there. It is empty where that is no variable or field of one: CEL tells no
// types of an expression with a mistake.
func fieldsAt(env *cel.Env, source string, id int64) []celField {
	parsed, issues := env.Parse(source)
	if issues.Err() != nil {
		return nil
	}
	var fields []celField
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.ID() == id && e.Kind() == ast.SelectKind {
			fields = fieldsOf(env, e.AsSelect().Operand())
		}
	}))
	return fields
}

func fieldsOf(env *cel.Env, e ast.Expr) []celField {
	switch e.Kind() {
	case ast.IdentKind:
		for _, v := range env.Variables() {
			if v.Name() == e.AsIdent() {
				return celTypes[v.Type().TypeName()]
			}
		}
	case ast.SelectKind:
		for _, f := range fieldsOf(env, e.AsSelect().Operand()) {
			if f.name == e.AsSelect().FieldName() {
				return celTypes[f.is.TypeName()]
			}
		}
	default:
	}
	return nil
}

// fieldHint says which field was meant, or which there are.
func fieldHint(name string, fields []celField) string {
	var names, within []string
	for _, f := range fields {
		names = append(names, f.name)
		if slices.ContainsFunc(celTypes[f.is.TypeName()], func(g celField) bool { return g.name == name }) {
			within = append(within, f.name+"."+name)
		}
	}
	if hint := didYouMean(name, names); hint != "" {
		return hint
	}
	if len(within) > 0 {
		return "; did you mean `" + strings.Join(within, "` or `") + "`?"
	}
	if len(names) == 0 || len(names) > mostHinted {
		return ""
	}
	return "; there is: " + strings.Join(names, ", ")
}

// mostHinted is the largest number of fields that a message lists.
const mostHinted = 12
