package main

import "fmt"

// DisagreementError says that an engine answers a query in another way than interlock.
type DisagreementError struct {
	Engine string
	Number int
	Query  query
	// Answer is the engine's.
	Answer bool
}

func (e *DisagreementError) Error() string {
	return fmt.Sprintf("%s answers %v to query %d (%s), and interlock %v: one of the two models is wrong",
		e.Engine, e.Answer, e.Number, e.Query, !e.Answer)
}

// answers puts all queries to the engine.
func answers(e engine, queries []query) ([]bool, error) {
	all := make([]bool, len(queries))
	for i, q := range queries {
		allowed, err := e.Check(q)
		if err != nil {
			return nil, fmt.Errorf("%s: query %d (%s): %w", e.Name(), i, q, err)
		}
		all[i] = allowed
	}
	return all, nil
}

// agree checks that the engine gives the expected answers. The error is a
// [*DisagreementError] at the first that differs.
func agree(e engine, queries []query, expected []bool) error {
	given, err := answers(e, queries)
	if err != nil {
		return err
	}
	for i, q := range queries {
		if given[i] != expected[i] {
			return &DisagreementError{Engine: e.Name(), Number: i, Query: q, Answer: given[i]}
		}
	}
	return nil
}
