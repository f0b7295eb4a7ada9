// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	celcost "cel.dev/cel-go/checker"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/ext"
)

// Bounds of an expression. A cost unit is about one step of evaluation (CEL's
// own measure); what costs more than the limit can't be told from an attack.
// The limit holds for each expression, and for all of one decision together.
const (
	maxExpression      = 4096 // code points
	maxExpressionDepth = 32
	costLimit          = 25_000
	// textEstimate is how long a text of a request is taken to be when a cost
	// is estimated. A longer one meets the limit while it is evaluated.
	textEstimate = 256
)

// A scope says which variables an expression may use.
type scope struct {
	cert  bool // each line that can decide demands a client certificate
	prior bool // the operation renews a certificate
	plan  bool // the certificate has been planned
	// warned: all checks have been asked.
	warned bool
}

// An expression is a CEL expression of the policy file.
type expression struct {
	at      spot
	source  string
	program cel.Program
	reads   celReads
	most    uint64 // what it was estimated to cost
}

// celEnv gives the environment of a scope, made once for a file.
func (c *compiler) celEnv(s scope) *cel.Env {
	if env := c.envs[s]; env != nil {
		return env
	}
	env, err := newCELEnv(s)
	if err != nil { // our own declarations disagree: no file can cause it
		panic("policy: the CEL environment: " + err.Error())
	}
	if c.envs == nil {
		c.envs = map[scope]*cel.Env{}
	}
	c.envs[s] = env
	return env
}

func newCELEnv(s scope) (*cel.Env, error) {
	provider := celProvider{Registry: types.NewEmptyRegistry()}
	options := append(celStandard(),
		cel.CustomTypeProvider(provider), cel.CustomTypeAdapter(provider),
		ext.Strings(), ext.Sets(), ext.Bindings(),
		cel.ParserExpressionSizeLimit(maxExpression), cel.ParserRecursionLimit(maxExpressionDepth),
		cel.Variable("csr", types.NewObjectType(celCSRType)),
		cel.Variable("req", types.NewObjectType(celReqType)),
	)
	who := celWhoType
	if s.cert {
		who = celWhoCertType
	}
	options = append(options, cel.Variable("who", types.NewObjectType(who)))
	if s.prior {
		options = append(options, cel.Variable("prior", types.NewObjectType(celCertType)))
	}
	if s.plan {
		options = append(options, cel.Variable("plan", types.NewObjectType(celPlanType)))
	}
	if s.warned {
		options = append(options, cel.Variable("warned", celTexts))
	}
	return cel.NewCustomEnv(slices.Concat(options, celBounded(), celFunctions())...)
}

// expression compiles a CEL expression that gives one of the wanted types.
// It is nil when there is a mistake, which has been reported.
func (c *compiler) expression(n node, s scope, want ...*cel.Type) *expression {
	source, ok := n.text()
	if !ok {
		return nil
	}
	c.profiled.expressive = true
	if strings.TrimSpace(source) == "" {
		c.add(n.at, "`%s` is empty, where an expression in CEL should be", n.path)
		return nil
	}
	env := c.celEnv(s)
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		c.celIssues(n, s, env, issues)
		return nil
	}
	if out := ast.OutputType(); !slices.ContainsFunc(want, out.IsExactType) {
		c.add(nodePos(n.at.File, n.yaml), "`%s` wants an expression of the type %s, and this one is of the type %s",
			n.path, celTypeWords(want), celTypeWord(out))
		return nil
	}
	if !c.celArguments(n, ast) {
		return nil
	}
	cost, err := env.EstimateCost(ast, celSizes{c.guard.names})
	if err != nil || cost.Max > costLimit {
		c.add(nodePos(n.at.File, n.yaml), "`%s` can cost too much: up to %d steps with %d names in a request, and the limit is %d",
			n.path, cost.Max, c.guard.names, costLimit)
		return nil
	}
	program, err := env.Program(ast, append(celCosts(), cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit))...)
	if err != nil {
		c.add(nodePos(n.at.File, n.yaml), "`%s` can't be used: %s", n.path, show(err.Error()))
		return nil
	}
	return &expression{at: n.spot(), source: source, program: program, reads: readsOf(ast), most: cost.Max}
}

var celWords = []struct {
	is   *cel.Type
	word string
}{
	{cel.BoolType, "bool"}, {cel.StringType, "string"}, {cel.ListType(cel.StringType), "list(string)"},
	{cel.DurationType, "duration"}, {cel.BytesType, "bytes"},
}

func celTypeWord(t *cel.Type) string {
	for _, w := range celWords {
		if w.is.IsExactType(t) {
			return w.word
		}
	}
	return strings.TrimPrefix(cel.FormatCELType(t), "est.")
}

func celTypeWords(want []*cel.Type) string {
	words := make([]string, len(want))
	for i, t := range want {
		words[i] = celTypeWord(t)
	}
	return listWords(words)
}

// celSizes tells the estimator how large a request can get.
type celSizes struct{ names int }

// EstimateSize implements celcost.CostEstimator.
func (s celSizes) EstimateSize(element celcost.AstNode) *celcost.SizeEstimate {
	switch element.Type().Kind() {
	case types.ListKind, types.MapKind, types.DynKind: // dyn: a list of facts, most likely
		return &celcost.SizeEstimate{Min: 0, Max: uint64(max(s.names, 1))}
	case types.StringKind, types.BytesKind:
		return &celcost.SizeEstimate{Min: 0, Max: textEstimate}
	default:
	}
	return nil
}

// EstimateCallCost implements celcost.CostEstimator.
func (s celSizes) EstimateCallCost(function, _ string, _ *celcost.AstNode, _ []celcost.AstNode) *celcost.CallEstimate {
	switch function {
	case celValues, celAttribute:
		most := uint64(max(s.names, 1))
		return &celcost.CallEstimate{CostEstimate: celcost.CostEstimate{Min: 1, Max: most}, ResultSize: &celcost.SizeEstimate{Max: most}}
	}
	return nil
}

// eval evaluates the expression. An error is for unevaluated.
func (e *expression) eval(in *celInput) (ref.Val, error) {
	in.estimated += e.most
	in.read.client, in.read.facts = in.read.client || e.reads.client, in.read.facts || e.reads.facts
	if in.spent > costLimit {
		return nil, in.overspent()
	}
	value, details, err := e.program.Eval(in)
	if details != nil && details.ActualCost() != nil {
		in.spent += *details.ActualCost()
	}
	switch {
	case err != nil:
		return nil, e.blame(err)
	case value == nil || types.IsUnknownOrError(value):
		return nil, errors.New("no value")
	}
	return value, nil
}

func (e *expression) truth(in *celInput) (bool, error) {
	value, err := e.eval(in)
	if err != nil {
		return false, err
	}
	truth, ok := value.(types.Bool)
	if !ok {
		return false, errors.New("not a bool")
	}
	return bool(truth), nil
}

// texts gives a string as one text, and a list(string) as its texts.
func (e *expression) texts(in *celInput) ([]string, error) {
	value, err := e.eval(in)
	if err != nil {
		return nil, err
	}
	if text, ok := value.(types.String); ok {
		return []string{string(text)}, nil
	}
	list, ok := value.(traits.Lister)
	if !ok {
		return nil, errors.New("neither a string nor a list")
	}
	var texts []string
	for it := list.Iterator(); it.HasNext() == types.True; {
		text, ok := it.Next().(types.String)
		if !ok {
			return nil, errors.New("an item of the list is not a string")
		}
		texts = append(texts, string(text))
	}
	return texts, nil
}

// octets gives bytes.
func (e *expression) octets(in *celInput) ([]byte, error) {
	value, err := e.eval(in)
	if err != nil {
		return nil, err
	}
	octets, ok := value.(types.Bytes)
	if !ok {
		return nil, errors.New("not bytes")
	}
	return []byte(octets), nil
}

func (e *expression) duration(in *celInput) (time.Duration, error) {
	value, err := e.eval(in)
	if err != nil {
		return 0, err
	}
	d, ok := value.(types.Duration)
	if !ok {
		return 0, errors.New("not a duration")
	}
	return d.Duration, nil
}
