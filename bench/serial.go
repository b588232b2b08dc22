package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

func discard(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }

// side is one of the two things that a ratio compares: it sets up once and then measures
// as often as it is asked to.
type side struct {
	name  string
	run   func(b *testing.B)
	close func()
}

// order draws the queries of a run, the same for both sides.
func order(w *world) []actors.Request {
	rng := rand.New(rand.NewPCG(7, 7))
	drawn := make([]actors.Request, 1<<14)
	for i := range drawn {
		drawn[i] = w.queries[rng.IntN(len(w.queries))]
	}
	return drawn
}

// mustDecide panics if there was no decision: a fault would be fast.
func mustDecide(err error) {
	if err == nil {
		return
	}
	if _, denied := errors.AsType[*actors.DeniedError](err); !denied {
		panic(err)
	}
}

// executeSide runs empty operations through Execute.
func executeSide(name string, w *world) side { return executeOn(w.engine(), name, w) }

func executeOn(e *actors.Engine, name string, w *world) side {
	drawn := activate(e, w)
	return side{name, func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			mustDecide(e.Execute(background, drawn[i&(1<<14-1)], nothing))
		}
	}, func() { _ = e.Close(background) }}
}

// doSide runs empty operations through Do. It has a loop of its own, because a call through a
// function value would be measured too.
func doSide(name string, w *world) side { return doOn(w.engine(), name, w) }

func doOn(e *actors.Engine, name string, w *world) side {
	drawn := activate(e, w)
	return side{name, func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			mustDecide(e.Do(background, drawn[i&(1<<14-1)], nothingToDo))
		}
	}, func() { _ = e.Close(background) }}
}

func nothingToDo() error { return nil }

// activate draws the queries of a run, and makes each once.
func activate(e *actors.Engine, w *world) []actors.Request {
	drawn := order(w)
	for i := range drawn {
		mustDecide(e.Execute(background, drawn[i], nothing))
	}
	return drawn
}

// certifiedSide is executeSide for callers with a certificate each, in an engine that knows
// of as many others which are revoked: each turn looks at dates and revocation.
func certifiedSide(name string, w *world, revoked int) side {
	lists := make(revokedSerials, revoked)
	for i := range revoked {
		lists[uint64(i)] = struct{}{}
	}
	e := w.engine()
	if _, err := e.UseRevocationLists(context.Background(), lists); err != nil {
		panic(err)
	}
	certificates := map[policy.Principal]*actors.Credential{}
	for i := range w.queries {
		who := w.queries[i].Principal
		if certificates[who] == nil {
			n := len(certificates)
			certificates[who] = actors.NewCredential([32]byte{byte(n), byte(n >> 8)}, [32]byte{1}, fmt.Sprintf("%x", revoked+n),
				time.Now().Add(-time.Minute), time.Now().Add(time.Hour))
		}
		w.queries[i].Credential = certificates[who]
	}
	return executeOn(e, name, w)
}

// revokedSerials are revocation lists of one authority.
type revokedSerials map[uint64]struct{}

// Revoked implements [actors.RevocationLists].
func (r revokedSerials) Revoked(_, serial string) bool {
	number, err := strconv.ParseUint(serial, 16, 64)
	_, revoked := r[number]
	return revoked || err != nil
}

// admitSide admits and releases.
func admitSide(name string, w *world) side { return admitOn(w.engine(), name, w) }

func admitOn(e *actors.Engine, name string, w *world) side {
	drawn := order(w)
	ctx := context.Background()
	return side{name, func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			l, err := e.Admit(ctx, drawn[i&(1<<14-1)])
			if err == nil {
				l.Release()
			}
		}
	}, func() { _ = e.Close(ctx) }}
}

// decideSide asks for the answer alone.
func decideSide(name string, w *world) side {
	e := w.engine()
	drawn := order(w)
	ctx := context.Background()
	return side{name, func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			_, _ = e.Decide(ctx, drawn[i&(1<<14-1)])
		}
	}, func() { _ = e.Close(ctx) }}
}

// rwMutexSide holds each principal's RWMutex over check and use.
func rwMutexSide(name string, w *world) side {
	s := startRWMutex(w)
	drawn := order(w)
	return side{name, func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			s.use(&drawn[i&(1<<14-1)], nothing)
		}
	}, s.close}
}

// futureSide asks an ordinary actor.
func futureSide(name string, w *world) side {
	s := startFutures(w)
	req := w.queries[0]
	return side{name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.use(&req, nothing)
		}
	}, s.close}
}

// mapSide checks in the map behind one RWMutex, without any use.
func mapSide(name string, w *world) side {
	m := newRoleMap(w)
	drawn := order(w)
	return side{name, func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			q := &drawn[i&(1<<14-1)]
			m.check(q.Principal.String(), q.Action, q.Resource)
		}
	}, func() {}}
}

// parallel64 lets 64 callers work on one side's single principal.
func parallel64(name string, execute func(), end func()) side {
	return side{name, func(b *testing.B) {
		b.SetParallelism(64 / max(1, runtime.GOMAXPROCS(0)))
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				execute()
			}
		})
	}, end}
}

func contendedExecute(name string, w *world) side {
	e := w.engine()
	ctx := context.Background()
	return parallel64(name, func() { mustDecide(e.Execute(ctx, w.queries[0], nothing)) }, func() { _ = e.Close(ctx) })
}

func contendedRead(name string, w *world) side {
	s := startRWMutex(w)
	return parallel64(name, func() { s.use(&w.queries[0], nothing) }, s.close)
}
