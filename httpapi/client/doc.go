// Package client is a Go client of interlock's decision API and admin API. It owns the wire
// types of both: the servers, the commands and the tests use the types of this package.
//
//	admin, err := client.New(client.Options{BaseURL: "https://localhost:8444", TLS: config})
//	result, err := admin.Update(ctx, []policy.ChangeSpec{{
//		Op: policy.OpRevoke, Principal: "user:alice", Role: policy.RoleRef{Name: "writer"},
//	}}, client.UpdateOptions{Wait: 5 * time.Second})
//
// The two APIs have listeners of their own, so a program that uses both makes two clients.
// If a server rejects a request, the error is a [*Problem].
//
// The types are encoded by github.com/go-json-experiment/json.
package client
