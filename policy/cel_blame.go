// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// What is too large for an expression is refused where the client has brought
// it: nobody shall make a 500, and an alarm, by a long name. It is a Fault where
// the policy has, or somebody else whose facts the expression reads.

// A tooMuch is what a bound of the evaluation says.
type tooMuch struct {
	text   string
	client bool // the client has brought it
}

func (t tooMuch) Error() string { return t.text }

// overLimit is for what a function would make of what it is given.
func overLimit(format string, args ...any) ref.Val {
	return types.WrapErr(tooMuch{text: fmt.Sprintf(format, args...)})
}

// celData and celClaims are the fields of `who` with what a webhook and a token
// say.
const (
	celData   = "data"
	celClaims = "claims"
)

// celReads are whose words an expression reads.
type celReads struct{ client, facts bool }

func readsOf(compiled *cel.Ast) (r celReads) {
	ast.PreOrderVisit(compiled.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			switch e.AsIdent() {
			case "csr", "who", "prior", "plan":
				r.client = true
			}
		case ast.SelectKind:
			of, name := e.AsSelect().Operand(), e.AsSelect().FieldName()
			if of.Kind() == ast.IdentKind && of.AsIdent() == "who" && (name == celData || name == celClaims) {
				r.facts = true
			}
		default:
		}
	}))
	return r
}

// blame says whose doing it is that the expression couldn't be evaluated. What
// it may cost was estimated when the file was loaded, with a request as large as
// the guardrail lets in: where it costs more all the same, the request has more.
func (e *expression) blame(err error) error {
	if large, ok := errors.AsType[tooMuch](err); ok {
		large.client = large.client || e.reads.client && !e.reads.facts
		return large
	}
	if stopped, ok := errors.AsType[interpreter.EvalCancelledError](err); ok && stopped.Cause == interpreter.CostLimitExceeded {
		return tooMuch{fmt.Sprintf("it costs more than %d steps", costLimit), e.reads.client && !e.reads.facts}
	}
	return err
}

// overspent is the error of a decision whose expressions cost too much
// together: the policy's doing, where they may by their estimates.
func (in *celInput) overspent() error {
	return tooMuch{
		fmt.Sprintf("all expressions of the decision together cost more than %d steps", costLimit),
		in.estimated <= costLimit && in.read.client && !in.read.facts,
	}
}

// unevaluated: a rule that can't be evaluated says neither yes nor no, so
// nothing is issued.
func (j *judge) unevaluated(at spot, check string, err error) {
	f := finding(at, Refused, "", "", "the expression can't be evaluated: %s", show(err.Error()))
	f.Class, f.Check = Broken, check
	if large, ok := errors.AsType[tooMuch](err); ok && large.client {
		f.Class = ByPolicy
		f.Message = "the request is too large for the expression: " + show(err.Error())
	}
	j.found(f)
}
