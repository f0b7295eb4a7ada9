// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/decls"
	celenv "cel.dev/cel-go/common/env"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/stdlib"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// CEL counts what a step has cost when the step is done. So no step may be
// able to cost much: texts, lists and regular expressions are bounded, and
// what makes large ones of small ones looks before it begins.
const (
	maxCELText = 2048 // bytes of a text of the request, or that an expression makes
	maxCELList = 2048 // items of a list that + makes
	maxCELPair = 1 << 16
	// maxRegexp and maxRegexpSize bound a regular expression: its text, and
	// the instructions of its program, each of which RE2 may have to look at
	// for each character.
	maxRegexp     = 1024
	maxRegexpSize = 200
	// regexpSteps is how many of those are one step of CEL.
	regexpSteps = 4
)

// celStandard gives the standard functions, with a + that looks how large
// the result gets: doubled often enough, any text or list is too large.
func celStandard() []cel.EnvOption {
	plus := []decls.FunctionOpt{decls.SingletonBinaryBinding(boundedAdd, traits.AdderType)}
	for _, f := range stdlib.Functions() {
		if f.Name() != operators.Add {
			continue
		}
		for _, o := range f.OverloadDecls() {
			plus = append(plus, decls.Overload(o.ID(), o.ArgTypes(), o.ResultType()))
		}
	}
	without := &celenv.LibrarySubset{ExcludeFunctions: []*celenv.Function{celenv.NewFunction(operators.Add)}}
	return []cel.EnvOption{cel.StdLib(cel.StdLibSubset(without)), cel.Function(operators.Add, plus...)}
}

func boundedAdd(left, right ref.Val) ref.Val {
	most := types.Int(maxCELText)
	if _, isList := left.(traits.Lister); isList {
		most = maxCELList
	}
	if l, ok := left.(traits.Sizer); ok {
		if r, ok := right.(traits.Sizer); ok {
			if size, ok := addInts(l.Size(), r.Size()); ok && size > most {
				return overLimit("+ would make something larger than %d bytes or items", most)
			}
		}
	}
	return left.(traits.Adder).Add(right)
}

func addInts(a, b ref.Val) (types.Int, bool) {
	x, ok := a.(types.Int)
	y, okToo := b.(types.Int)
	return x + y, ok && okToo
}

// celBounded gives functions of the extensions with a look at the size of the
// result, or at the work.
func celBounded() []cel.EnvOption {
	text, lists := cel.StringType, []*cel.Type{cel.ListType(cel.TypeParamType("T")), cel.ListType(cel.TypeParamType("T"))}
	replace := cel.FunctionBinding(boundedReplace)
	sets := func(name, id string, compare func(left, right traits.Lister) bool) cel.EnvOption {
		return cel.Function(name, cel.Overload(id, lists, cel.BoolType, cel.BinaryBinding(func(a, b ref.Val) ref.Val {
			left, right := a.(traits.Lister), b.(traits.Lister)
			if pairs := left.Size().(types.Int) * right.Size().(types.Int); pairs > maxCELPair {
				return overLimit("%s would compare %d pairs, and %d is the most", name, pairs, maxCELPair)
			}
			return types.Bool(compare(left, right))
		})))
	}
	return []cel.EnvOption{
		cel.Function("replace",
			cel.MemberOverload("string_replace_string_string", []*cel.Type{text, text, text}, text, replace),
			cel.MemberOverload("string_replace_string_string_int", []*cel.Type{text, text, text, cel.IntType}, text, replace)),
		cel.Function("join",
			cel.MemberOverload("list_join", []*cel.Type{celTexts}, text, cel.UnaryBinding(func(list ref.Val) ref.Val { return boundedJoin(list, types.String("")) })),
			cel.MemberOverload("list_join_string", []*cel.Type{celTexts, text}, text, cel.BinaryBinding(boundedJoin))),
		sets("sets.contains", "list_sets_contains_list", containsAll),
		sets("sets.equivalent", "list_sets_equivalent_list", func(left, right traits.Lister) bool {
			return containsAll(left, right) && containsAll(right, left)
		}),
		sets("sets.intersects", "list_sets_intersects_list", containsAny),
	}
}

func containsAll(list, items traits.Lister) bool {
	for it := items.Iterator(); it.HasNext() == types.True; {
		if list.Contains(it.Next()) != types.True {
			return false
		}
	}
	return true
}

func containsAny(list, items traits.Lister) bool {
	for it := items.Iterator(); it.HasNext() == types.True; {
		if list.Contains(it.Next()) == types.True {
			return true
		}
	}
	return false
}

func boundedReplace(args ...ref.Val) ref.Val {
	whole, old, replacement := textOf(args[0]), textOf(args[1]), textOf(args[2])
	most := -1
	if len(args) == 4 {
		if n, ok := args[3].(types.Int); ok && n >= 0 {
			most = int(min(n, maxCELText))
		}
	}
	count := strings.Count(whole, old)
	if most >= 0 {
		count = min(count, most)
	}
	if size := len(whole) + count*(len(replacement)-len(old)); size > maxCELText {
		return overLimit("replace would make a text of %d bytes, and %d is the most", size, maxCELText)
	}
	return types.String(strings.Replace(whole, old, replacement, most))
}

func boundedJoin(list, separator ref.Val) ref.Val {
	var parts []string
	size := 0
	for it := list.(traits.Lister).Iterator(); it.HasNext() == types.True; {
		part := textOf(it.Next())
		if size += len(part) + len(textOf(separator)); size > maxCELText+len(textOf(separator)) {
			return overLimit("join would make a text of more than %d bytes", maxCELText)
		}
		parts = append(parts, part)
	}
	return types.String(strings.Join(parts, textOf(separator)))
}

func textOf(value ref.Val) string {
	text, _ := value.(types.String)
	return string(text)
}

// celFact makes a text of Facts a value of CEL: no client has brought it.
func celFact(text string) ref.Val {
	if len(text) > maxCELText {
		return types.NewErr("there is a text of %d bytes among the facts, and an expression can read %d", len(text), maxCELText)
	}
	return types.String(text)
}

// celText makes a text of a request a value of CEL.
func celText(text string) ref.Val {
	if len(text) > maxCELText {
		return types.WrapErr(tooMuch{fmt.Sprintf("the request has a text of %d bytes, and an expression can read %d", len(text), maxCELText), true})
	}
	return types.String(text)
}

func celTextList(texts []string) ref.Val {
	for _, text := range texts {
		if value := celText(text); types.IsError(value) {
			return value
		}
	}
	return types.NewStringList(types.DefaultTypeAdapter, texts)
}

// celCosts gives what calls cost while they are evaluated: of a regular
// expression by its program, where CEL guesses by its text.
func celCosts() []cel.ProgramOption {
	sizes := map[string]uint64{} // written while programs are made, read after
	compile := func(call interpreter.InterpretableCall, pattern string) (interpreter.InterpretableCall, error) {
		compiled, err := regexp.Compile(pattern)
		if err != nil {
			return nil, err
		}
		size, err := regexpSize(pattern)
		sizes[pattern] = uint64(size) //nolint:gosec // a size isn't negative
		return interpreter.NewCall(call.ID(), call.Function(), call.OverloadID(), call.Args(), func(values ...ref.Val) ref.Val {
			return types.Bool(compiled.MatchString(textOf(values[0])))
		}), err
	}
	cost := func(args []ref.Val, _ ref.Val) *uint64 {
		total := uint64(len(textOf(args[0]))+1) * max(sizes[textOf(args[1])], 1) / regexpSteps
		total++
		return &total
	}
	var options []cel.ProgramOption
	for _, id := range []string{overloads.MatchesString, overloads.Matches} {
		options = append(options,
			cel.OptimizeRegex(&interpreter.RegexOptimization{Function: overloads.Matches, OverloadID: id, RegexIndex: 1, Factory: compile}),
			cel.CostTrackerOptions(interpreter.OverloadCostTracker(id, cost)))
	}
	return options
}

// regexpSize gives the number of instructions of a regular expression.
func regexpSize(pattern string) (int, error) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return 0, err
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return 0, err
	}
	return len(program.Inst), nil
}

// celLimit says what no expression may have, and where: what it costs can't be
// told before it is done, or it reads files.
func celLimit(e ast.Expr, is map[int64]*types.Type) (string, ast.Expr) {
	switch e.Kind() {
	case ast.ListKind, ast.MapKind:
		if mixed(is[e.ID()], e) {
			return "all items of a list, and all values of a map, are of one type", e
		}
		return "", e
	case ast.CallKind:
	default:
		return "", e
	}
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	switch {
	case slices.Contains(comparing, name) && slices.ContainsFunc(args, func(arg ast.Expr) bool { return !isEmpty(arg) && nested(is[arg.ID()]) }):
		return "lists or maps within lists or maps can't be compared: compare what is in them", e
	case name == "format" || name == "strings.quote":
		return "the function " + name + " isn't offered: join texts with +", e
	case name == "dyn":
		return "the function dyn isn't offered: all types are known", e
	case name == overloads.Matches && len(args) > 0:
		pattern := args[len(args)-1]
		return regexpProblem(pattern), pattern
	case call.IsMemberFunction() && strings.HasPrefix(name, "get") && len(args) == 1:
		if text, ok := literalText(args[0]); !ok || !zoneOffset.MatchString(text) {
			return name + ` wants an offset from UTC such as "+01:00": what the name of a time zone means differs from machine to machine`, args[0]
		}
	}
	return "", e
}

var zoneOffset = regexp.MustCompile(`^[+-]?[0-9]{2}:[0-9]{2}$`)

func regexpProblem(pattern ast.Expr) string {
	text, ok := literalText(pattern)
	if !ok {
		return "matches wants a regular expression in quotes: one that a request brings could cost anything"
	}
	if len(text) > maxRegexp {
		return fmt.Sprintf("the regular expression has %d bytes, and %d is the most", len(text), maxRegexp)
	}
	switch size, err := regexpSize(text); {
	case err != nil:
		return "the regular expression can't be used: " + show(err.Error())
	case size > maxRegexpSize:
		return fmt.Sprintf("the regular expression is too large: its repetitions make it %d steps for each character, and %d is the most", size, maxRegexpSize)
	}
	return ""
}

func literalText(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	text, ok := e.AsLiteral().Value().(string)
	return text, ok && utf8.ValidString(text)
}

// comparing are the functions that compare all that is in their arguments.
var comparing = []string{operators.Equals, operators.NotEquals, operators.In, "sets.contains", "sets.equivalent", "sets.intersects"}

// nested tells a list or a map of lists, of maps, or of nobody knows what. To
// compare two of those is a single step, however much is in them.
func nested(t *types.Type) bool { return holds(t, types.ListKind, types.MapKind, types.DynKind) }

// mixed tells a list or a map with values of several types. The type of an
// empty one says nothing.
func mixed(t *types.Type, e ast.Expr) bool { return !isEmpty(e) && holds(t, types.DynKind) }

func holds(t *types.Type, kinds ...types.Kind) bool {
	return t != nil && slices.ContainsFunc(t.Parameters(), func(inner *types.Type) bool { return slices.Contains(kinds, inner.Kind()) })
}

func isEmpty(e ast.Expr) bool {
	return e.Kind() == ast.ListKind && e.AsList().Size() == 0 || e.Kind() == ast.MapKind && e.AsMap().Size() == 0
}
