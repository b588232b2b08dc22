package grpcguard

import (
	"context"

	"google.golang.org/grpc"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/httpapi"
)

var _ grpc.UnaryServerInterceptor = (*Guard)(nil).Unary

// Unary is the interceptor for unary methods. It calls the handler with the context of its lease or
// of its turn, which has the deadline, the metadata and the values of ctx. The lease is released
// when the handler has returned or panicked.
//
// In mode Execute a panic of the handler becomes INTERNAL, and is logged. In mode Admit it
// continues to the interceptors outside.
func (g *Guard) Unary(ctx context.Context, message any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	a, err := g.begin(ctx, info.FullMethod)
	if err != nil {
		return nil, g.refuse(ctx, info.FullMethod, err)
	}
	req, err := a.request(message)
	if err != nil {
		return nil, g.refuse(ctx, info.FullMethod, err)
	}
	if a.rule.Mode == httpapi.Execute {
		return g.execute(a, req, message, handler)
	}
	lease, err := g.engine.Admit(a.ctx, req)
	if err != nil {
		return nil, g.refuse(ctx, info.FullMethod, err)
	}
	defer lease.Release()
	reply, err := handler(lease.Context(), message)
	if lost := lostAuthority(lease); lost != nil {
		return nil, g.refuse(ctx, info.FullMethod, lost)
	}
	return reply, err
}

func (g *Guard) execute(a *attempt, req actors.Request, message any, handler grpc.UnaryHandler) (reply any, handlerErr error) {
	err := g.engine.Execute(a.ctx, req, func(ctx context.Context) error {
		reply, handlerErr = handler(ctx, message)
		return nil
	})
	if err != nil {
		return nil, g.refuse(a.ctx, a.method, err)
	}
	return reply, handlerErr
}
