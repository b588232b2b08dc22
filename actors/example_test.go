package actors_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/oplog"
	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/actors/policy/policyfile"
)

const examplePolicy = `
roles:
  writer:
    permissions:
      - actions: [orders:write]
        resources: [orders/*]
grants:
  - principal: spiffe://example.org/alice
    role: writer
`

// exampleEngine starts an engine on the policy above.
func exampleEngine() (*actors.Engine, error) {
	file, err := policyfile.Parse("policy.yaml", []byte(examplePolicy))
	if err != nil {
		return nil, err
	}
	memory, err := oplog.NewMemoryWith(slices.Collect(file.AllRoles()), file.Grants)
	if err != nil {
		return nil, err
	}
	return actors.New(actors.Options{Log: memory})
}

var exampleRequest = actors.Request{
	Principal: policy.MustPrincipal("spiffe://example.org/alice"),
	Action:    "orders:write",
	Resource:  "orders/42",
}

func ExampleEngine_Execute() {
	engine, err := exampleEngine()
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close(context.Background())

	err = engine.Execute(context.Background(), exampleRequest, func(context.Context) error {
		fmt.Println("written, while nothing could take the right away")
		return nil
	})
	fmt.Println(err)
	// Output:
	// written, while nothing could take the right away
	// <nil>
}

func ExampleEngine_Admit() {
	engine, err := exampleEngine()
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close(context.Background())

	lease, err := engine.Admit(context.Background(), exampleRequest)
	if err != nil {
		log.Fatal(err)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		defer lease.Release()
		<-lease.Context().Done() // an operation that goes on until it is told to stop
		fmt.Println("the operation ends:", context.Cause(lease.Context()))
	}()

	receipt, err := engine.Update(context.Background(), actors.Update{Changes: []policy.Change{
		policy.RevokeRole(policy.Grant{Principal: exampleRequest.Principal, Role: "writer"}),
	}})
	<-stopped
	fmt.Println("quiesced:", receipt.Quiesced, err)
	fmt.Println("ended:", receipt.Ended[0].Action, receipt.Ended[0].How)
	// Output:
	// the operation ends: the authority of the operation was revoked
	// quiesced: true <nil>
	// ended: orders:write canceled
}

func ExampleEngine_Decide() {
	engine, err := exampleEngine()
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close(context.Background())

	decision, err := engine.Decide(context.Background(), exampleRequest)
	fmt.Println(decision.Allowed, err)
	fmt.Println(decision.Explain())
	// Output:
	// true <nil>
	// allowed by role writer, permission allow [orders:write] on [orders/*]; granted to spiffe://example.org/alice as writer
}

func ExampleEngine_DecideAll() {
	engine, err := exampleEngine()
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close(context.Background())

	read := exampleRequest
	read.Action = "orders:read"
	decisions, err := engine.DecideAll(context.Background(), []actors.Request{exampleRequest, read})
	for _, d := range decisions {
		fmt.Println(d.Allowed, d.Reason)
	}
	fmt.Println(err)
	// Output:
	// true allowed
	// false unknown-action
	// <nil>
}

func ExampleEngine_Update() {
	engine, err := exampleEngine()
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close(context.Background())

	_, err = engine.Update(context.Background(), actors.Update{Changes: []policy.Change{
		policy.GrantRole(policy.Grant{
			Principal: policy.MustPrincipal("spiffe://example.org/bob"),
			Role:      "writer",
			Expires:   time.Now().Add(8 * time.Hour),
			Reason:    "on call",
		}),
	}})
	fmt.Println(err)

	_, err = engine.Update(context.Background(), actors.Update{Changes: []policy.Change{
		policy.GrantRole(policy.Grant{Principal: exampleRequest.Principal, Role: "wirter"}),
	}})
	fmt.Println(errors.Is(err, policy.ErrUnknownRole), err)
	// Output:
	// <nil>
	// true changes[0].role: unknown role "wirter"
}
