package policy_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/internal/policytest"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

// TestScenarios runs testdata/*.txt; -rewrite writes the expected output anew. The
// commands are
//
//	policy            the input is a policy file, in YAML
//	decide            principal, action, resource and now of a query; the input, if any,
//	                  its properties, in JSON
//	apply             the input is a list of changes, one in JSON on each line
//	export            writes the policy
func TestScenarios(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if !strings.HasSuffix(path, ".txt") {
			return
		}
		s := &scenario{view: policytest.NewView(&policyfile.File{})}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "policy":
				return s.load(d)
			case "decide":
				return s.decide(t, d)
			case "apply":
				return s.apply(t, d)
			case "export":
				return s.view.Lines()
			}
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		})
	})
}

type scenario struct{ view *policytest.View }

func (s *scenario) load(d *datadriven.TestData) string {
	f, err := policyfile.Parse("policy.yaml", []byte(d.Input))
	if err != nil {
		return err.Error()
	}
	s.view = policytest.NewView(f)
	return fmt.Sprintf("%d roles, %d grants", len(f.Roles), len(f.Grants))
}

func (s *scenario) decide(t *testing.T, d *datadriven.TestData) string {
	var principal, action, resource string
	now := "2026-06-01T00:00:00Z"
	d.ScanArgs(t, "principal", &principal)
	d.ScanArgs(t, "action", &action)
	d.ScanArgs(t, "resource", &resource)
	d.MaybeScanArgs(t, "now", &now)
	q := &policy.Query{
		Principal: policy.MustPrincipal(principal), Action: action, Resource: resource,
		Now: func() time.Time { return policytest.Instant(now) },
	}
	if d.Input != "" {
		q.Properties = &policy.Properties{}
		if err := json.Unmarshal([]byte(d.Input), q.Properties); err != nil {
			t.Fatal(err)
		}
	}
	decision := policytest.DecideIn(t, s.view.File(), q, policytest.Instant(now))
	ex := decision.Explain()
	out := ex.String()
	if ex.Permission != nil {
		out = fmt.Sprintf("%s\nrole %s, permission %d", out, ex.Role, ex.Number)
	}
	return out
}

func (s *scenario) apply(t *testing.T, d *datadriven.TestData) string {
	draft := policy.NewDraft(s.view, s.view.Revision()+1)
	for line := range strings.SplitSeq(d.Input, "\n") {
		spec, err := decodeChange(line)
		if err != nil {
			t.Fatal(err)
		}
		c, err := spec.Change()
		if err == nil {
			err = draft.Apply(c)
		}
		if err != nil {
			return "refused: " + err.Error()
		}
	}
	s.view = s.view.Commit(draft)
	return fmt.Sprintf("revision %d", s.view.Revision())
}
