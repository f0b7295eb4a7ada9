// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/caddy-est/estra/policy/csr"
)

// Functions of ours.
const (
	celValues    = "values"    // subject.values("OU"): all values
	celOther     = "other"     // san.other("1.2.3"): the otherNames of a type
	celAttribute = "attribute" // csr.attribute("macAddress"): the texts of a PKCS #10 attribute
)

func celFunctions() []cel.EnvOption {
	return []cel.EnvOption{
		cel.Function(celValues, cel.MemberOverload("est_subject_values", []*cel.Type{celObject(celSubjectType), cel.StringType}, celTexts,
			cel.BinaryBinding(func(subject, name ref.Val) ref.Val {
				s, ok := subject.Value().(celSubject)
				oid, known := attributeOID(fmt.Sprint(name.Value()))
				if !ok || !known {
					return types.NewErr("no such subject attribute: %v", name.Value())
				}
				return celTextList(s.values(oid.String()))
			}))),
		cel.Function(celOther, cel.MemberOverload("est_san_other", []*cel.Type{celObject(celSANType), cel.StringType}, celTexts,
			cel.BinaryBinding(func(san, typeID ref.Val) ref.Val {
				s, ok := san.Value().(celSAN)
				oid, err := spellOID(fmt.Sprint(typeID.Value()))
				if !ok || err != nil {
					return types.NewErr("no such type of otherName: %v", typeID.Value())
				}
				return celTextList(s.values(sanKey{csr.OtherName, oid}))
			}))),
		cel.Function(celAttribute, cel.MemberOverload("est_csr_attribute", []*cel.Type{celObject(celCSRType), cel.StringType}, celTexts,
			cel.BinaryBinding(func(request, name ref.Val) ref.Val {
				r, ok := request.Value().(*celCSR)
				oid, known := attributeOID(fmt.Sprint(name.Value()))
				if !ok || !known || secretAttribute(oid.String()) {
					return types.NewErr("no such attribute: %v", name.Value())
				}
				return celTextList(r.attribute(oid.String()))
			}))),
	}
}

// attribute gives the values of an attribute that are text.
func (r *celCSR) attribute(oid string) []string {
	attribute, ok := r.Attribute(oid)
	if !ok {
		return nil
	}
	return attribute.Texts()
}

// secretAttribute tells the attributes whose values no rule may read: they
// are compared in constant time elsewhere, and stand in no record.
func secretAttribute(oid string) bool {
	return slices.Contains([]string{csr.OIDChallengePassword, estIdentityLinking, otpChallenge, revocationChallenge}, oid)
}

// celArguments wants what CEL's own types can't say: the names in calls of
// our functions are known, and no object of ours is made.
func (c *compiler) celArguments(n node, compiled *cel.Ast) bool {
	problems := 0
	native := compiled.NativeRep()
	ast.PreOrderVisit(native.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		problem, at := celLimit(e, native.TypeMap())
		if problem == "" {
			problem, at = celProblem(e)
		}
		if problem == "" {
			c.read(n.spot(), e)
			return
		}
		if problems++; problems > mostCELProblems {
			return
		}
		place := native.SourceInfo().GetStartLocation(at.ID())
		c.add(c.placeIn(n, place.Line(), place.Column()), "`%s`: %s", n.path, problem)
	}))
	return problems == 0
}

// mostCELProblems is how many problems of one expression are reported.
const mostCELProblems = 10

// read keeps which attributes an expression reads, and whether it reads what a
// webhook says.
func (c *compiler) read(at spot, e ast.Expr) {
	if e.Kind() == ast.SelectKind && e.AsSelect().FieldName() == celData && e.AsSelect().Operand().Kind() == ast.IdentKind &&
		e.AsSelect().Operand().AsIdent() == "who" && c.policy.readsData.at.Line == 0 {
		c.policy.readsData = at
	}
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != celAttribute || len(e.AsCall().Args()) != 1 {
		return
	}
	name, _ := e.AsCall().Args()[0].AsLiteral().Value().(string)
	if oid, ok := attributeOID(name); ok && c.reads != nil {
		c.reads[oid.String()] = true
	}
}

func celProblem(e ast.Expr) (string, ast.Expr) {
	switch e.Kind() {
	case ast.StructKind:
		return "an expression can't make an object of the type " + quote(e.AsStruct().TypeName()), e
	case ast.CallKind:
	default:
		return "", e
	}
	call := e.AsCall()
	name := call.FunctionName()
	if !call.IsMemberFunction() || name != celValues && name != celAttribute && name != celOther || len(call.Args()) != 1 {
		return "", e
	}
	arg := call.Args()[0]
	text, isText := "", arg.Kind() == ast.LiteralKind
	if isText {
		text, isText = arg.AsLiteral().Value().(string)
	}
	if name == celOther {
		if _, err := spellOID(text); err != nil {
			return name + ` wants the OID of a type of otherName in quotes, such as "1.3.6.1.5.5.7.8.7"`, arg
		}
		return "", e
	}
	switch oid, known := attributeOID(text); {
	case !isText:
		return name + ` wants a name in quotes, such as "OU"`, arg
	case !known:
		return quote(text) + " is neither a known attribute nor an OID" + didYouMean(text, csr.TypeNames()), arg
	case secretAttribute(oid.String()):
		return "the attribute " + quote(text) + " holds a secret, which no rule can read: see `linking`", arg
	}
	return "", e
}
