package policy

import (
	"fmt"
	"reflect"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
)

// Limits on conditions. Cost is in units of the CEL cost model: about one for each step of an
// evaluation, each value or ten characters of a string looked at. See [meter] for comparisons.
const (
	MaxConditionText = 4096
	maxConditionCost = 20_000
)

// Condition is a compiled CEL expression (https://cel.dev) over the typed variables
// principal, action and resource (each with its properties), context and now. It is
// immutable and safe for concurrent use.
type Condition struct {
	text    string
	program cel.Program
}

// The entities as conditions see them.
type (
	celPrincipal struct {
		ID         string         `cel:"id"`
		Properties map[string]any `cel:"properties"`
	}
	celAction struct {
		Name       string         `cel:"name"`
		Properties map[string]any `cel:"properties"`
	}
	celResource struct {
		ID         string         `cel:"id"`
		Properties map[string]any `cel:"properties"`
	}
)

var conditions = newConditionEnv()

func newConditionEnv() *cel.Env {
	env, err := cel.NewEnv(
		cel.Container("policy"),
		ext.NativeTypes(ext.ParseStructTags(true),
			reflect.TypeFor[celPrincipal](), reflect.TypeFor[celAction](), reflect.TypeFor[celResource]()),
		cel.Variable("principal", cel.ObjectType("policy.celPrincipal")),
		cel.Variable("action", cel.ObjectType("policy.celAction")),
		cel.Variable("resource", cel.ObjectType("policy.celResource")),
		cel.Variable("context", cel.MapType(cel.StringType, cel.DynType)),
		cel.Variable("now", cel.TimestampType),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserRecursionLimit(64),
		cel.ParserExpressionSizeLimit(MaxConditionText),
	)
	if err != nil {
		panic(fmt.Sprintf("policy: the environment of conditions is wrong: %v", err))
	}
	return env
}

// ParseCondition compiles a condition. It has to be of type bool. The error wraps
// [ErrCondition] and points at the place in the text.
func ParseCondition(text string) (*Condition, error) {
	if len(text) > MaxConditionText {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrCondition, MaxConditionText)
	}
	ast, issues := conditions.Compile(text)
	if issues.Err() != nil {
		return nil, fmt.Errorf("%w: %w", ErrCondition, issues.Err())
	}
	if t := ast.OutputType(); t != cel.BoolType && t != cel.DynType {
		return nil, fmt.Errorf("%w: %q is of type %s; a condition has to be true or false", ErrCondition, text, t)
	}
	program, err := conditions.Program(ast, cel.CostTracking(meter{}), cel.CostLimit(maxConditionCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCondition, err)
	}
	return &Condition{text: text, program: program}, nil
}

// String returns the text of the condition; a nil condition has none.
func (c *Condition) String() string {
	if c == nil {
		return ""
	}
	return c.text
}

// Properties are the values that conditions see besides the names: of the principal, the
// action and the resource, and the context of the request. The maps hold what
// encoding/json makes of an object. The caller must not change them while it uses a decision
// that was made with them, or an operation that was admitted with them.
type Properties struct {
	Principal map[string]any
	Action    map[string]any
	Resource  map[string]any
	Context   map[string]any
}

var noProperties = map[string]any{}

// eval is true or false, or an error: an expression that fails, that costs too much, or
// whose value is no bool.
func (c *Condition) eval(in *conditionInput) (bool, error) {
	out, _, err := c.program.Eval(in)
	if err != nil {
		return false, err
	}
	v, ok := out.(types.Bool)
	if !ok {
		return false, fmt.Errorf("condition %q gave a value of type %s, not true or false", c.text, out.Type())
	}
	return bool(v), nil
}

// conditionInput resolves the variables of a condition from a query. It implements
// cel.Activation and lives for one decision.
type conditionInput struct {
	query *Query
	now   time.Time
	read  bool
}

// Parent implements [cel.Activation].
func (in *conditionInput) Parent() cel.Activation { return nil }

// ResolveName implements [cel.Activation].
func (in *conditionInput) ResolveName(name string) (any, bool) {
	q := in.query
	props := q.Properties
	if props == nil {
		props = &Properties{}
	}
	switch name {
	case "principal":
		return &celPrincipal{ID: q.Principal.id, Properties: orNone(props.Principal)}, true
	case "action":
		return &celAction{Name: q.Action, Properties: orNone(props.Action)}, true
	case "resource":
		return &celResource{ID: q.Resource, Properties: orNone(props.Resource)}, true
	case "context":
		return orNone(props.Context), true
	case "now":
		return in.clock(), true
	}
	return nil, false
}

// clock reads the time once for a decision, so that two conditions of it agree.
func (in *conditionInput) clock() time.Time {
	if !in.read && in.query.Now != nil {
		in.now, in.read = in.query.Now(), true
	}
	return in.now
}

func orNone(m map[string]any) map[string]any {
	if m == nil {
		return noProperties
	}
	return m
}
