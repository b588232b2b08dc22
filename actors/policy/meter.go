package policy

import (
	"fmt"

	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Limits on the properties of one evaluation, for [CheckProperties].
const (
	MaxPropertyValues = 4096
	MaxPropertyDepth  = 16
)

// CheckProperties rejects properties from outside that have more values, in all and nested, than
// [MaxPropertyValues], or that are nested deeper than [MaxPropertyDepth]. A condition can compare
// all of them with one operator. The error is a [*FieldError] and wraps [ErrInvalid].
func CheckProperties(p *Properties) error {
	if p == nil {
		return nil
	}
	left := MaxPropertyValues
	for _, part := range []struct {
		name   string
		values map[string]any
	}{
		{"subject.properties", p.Principal}, {"action.properties", p.Action}, {"resource.properties", p.Resource}, {"context", p.Context},
	} {
		if err := countValues(part.values, MaxPropertyDepth, &left); err != nil {
			return &FieldError{Field: part.name, Err: err}
		}
	}
	return nil
}

func countValues(v any, depth int, left *int) error {
	if *left--; *left < 0 {
		return fmt.Errorf("%w: an evaluation has at most %d values in its properties", ErrInvalid, MaxPropertyValues)
	}
	if depth < 0 {
		return fmt.Errorf("%w: properties are nested at most %d deep", ErrInvalid, MaxPropertyDepth)
	}
	switch v := v.(type) {
	case map[string]any:
		for _, item := range v {
			if err := countValues(item, depth-1, left); err != nil {
				return err
			}
		}
	case []any:
		for _, item := range v {
			if err := countValues(item, depth-1, left); err != nil {
				return err
			}
		}
	}
	return nil
}

// meter charges a comparison for what it touches, nested values included. The cost model of CEL
// charges lists and maps by the number of their own elements at most. It implements
// cost.ActualCostEstimator.
type meter struct{}

// CallCost implements cost.ActualCostEstimator. Nil leaves the cost to the model.
func (meter) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	var touched uint64
	switch function {
	case operators.Equals, operators.NotEquals:
		touched = min(sizeOf(args[0], maxConditionCost), sizeOf(args[1], maxConditionCost))
	case operators.In:
		list, ok := args[1].(traits.Lister)
		if !ok { // a map, which looks up its key
			return nil
		}
		touched = sizeOf(list, maxConditionCost)
	default:
		return nil
	}
	return &touched
}

// sizeOf returns how many values, or parts of ten bytes of a string, a comparison with v can
// touch. It stops counting beyond most.
func sizeOf(v ref.Val, most uint64) uint64 {
	n := uint64(1)
	switch v := v.(type) {
	case traits.Lister:
		for it := v.Iterator(); n <= most && it.HasNext() == types.True; {
			n += sizeOf(it.Next(), most-n)
		}
	case traits.Mapper:
		for it := v.Iterator(); n <= most && it.HasNext() == types.True; {
			key := it.Next()
			n += 1 + sizeOf(v.Get(key), most-n)
		}
	default:
		if text, ok := v.Value().(string); ok {
			n += uint64(len(text)) / 10
		}
	}
	return n
}
