package policy_test

import (
	"fmt"
	"time"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

const examplePolicy = `
roles:
  order-reader:
    permissions:
      - actions: [orders:read]
        resources: [orders/**]
  order-writer:
    inherits: [order-reader]
    permissions:
      - actions: [orders:write]
        resources: [orders/**]
        when: resource.properties.amount < 1000
grants:
  - principals: spiffe://interlock.test/ns/*/sa/*
    role: order-writer
`

func ExampleFile() {
	file, err := policyfile.Parse("policy.yaml", []byte(examplePolicy))
	if err != nil {
		panic(err)
	}
	fmt.Println(len(file.Roles), "roles,", len(file.Grants), "grant")

	_, err = policyfile.Parse("policy.yaml", []byte("roles:\n  a:\n    inherits: [b]\n"))
	fmt.Println(err)
	// Output:
	// 2 roles, 1 grant
	// policy.yaml:3:16: roles.a.inherits[0]: unknown role "b"
}

func ExampleTable_Decide() {
	file, _ := policyfile.Parse("policy.yaml", []byte(examplePolicy))
	table, _ := file.Table(1)
	who := policy.MustPrincipal("spiffe://interlock.test/ns/shop/sa/web")
	holds := table.Compile(table.Hold(who, nil, time.Now().UnixNano()))

	for _, amount := range []float64{999, 1000} {
		d := table.Decide(holds, &policy.Query{
			Principal: who, Action: "orders:write", Resource: "orders/42",
			Properties: &policy.Properties{Resource: map[string]any{"amount": amount}},
		})
		fmt.Println(amount, d.Allowed, d.Reason)
	}
	// Output:
	// 999 true allowed
	// 1000 false no-permission
}

func ExampleDecision_Explain() {
	file, _ := policyfile.Parse("policy.yaml", []byte(examplePolicy))
	table, _ := file.Table(1)
	who := policy.MustPrincipal("spiffe://interlock.test/ns/shop/sa/web")
	holds := table.Compile(table.Hold(who, nil, time.Now().UnixNano()))

	d := table.Decide(holds, &policy.Query{Principal: who, Action: "orders:read", Resource: "orders/42"})
	ex := d.Explain()
	fmt.Println(ex.Role, ex.Path, ex.Number)
	fmt.Println(ex)
	// Output:
	// order-reader [order-writer order-reader] 0
	// allowed by role order-reader, permission allow [orders:read] on [orders/**]; granted to spiffe://interlock.test/ns/*/sa/* as order-writer → order-reader
}
