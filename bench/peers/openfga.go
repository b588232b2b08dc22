package main

import (
	"context"
	_ "embed"
	"slices"

	openfgav1 "github.com/openfga/api/proto/openfga/v1"
	"github.com/openfga/language/pkg/go/transformer"
	"github.com/openfga/openfga/pkg/server"
	"github.com/openfga/openfga/pkg/storage"
	"github.com/openfga/openfga/pkg/storage/memory"

	"github.com/interlock-authz/interlock/actors/policy"
)

//go:embed models/openfga.fga
var openFGAModel string

// tuplesAWrite is the maximum number of tuples in one write.
const tuplesAWrite = 100

// openFGA is OpenFGA's server, called without a network. It has its default caches, which
// do not cache answers.
type openFGA struct {
	store     storage.OpenFGADatastore
	server    *server.Server
	id, model string
}

func newOpenFGA(w *world) (engine, error) {
	store := memory.New()
	s, err := server.NewServerWithOpts(server.WithDatastore(store))
	if err != nil {
		return nil, err
	}
	o := &openFGA{store: store, server: s}
	if err := o.fill(w); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

func (o *openFGA) fill(w *world) error {
	ctx := context.Background()
	created, err := o.server.CreateStore(ctx, &openfgav1.CreateStoreRequest{Name: "peers"})
	if err != nil {
		return err
	}
	o.id = created.GetId()
	model, err := transformer.TransformDSLToProto(openFGAModel)
	if err != nil {
		return err
	}
	written, err := o.server.WriteAuthorizationModel(ctx, &openfgav1.WriteAuthorizationModelRequest{
		StoreId: o.id, TypeDefinitions: model.GetTypeDefinitions(), SchemaVersion: model.GetSchemaVersion(),
	})
	if err != nil {
		return err
	}
	o.model = written.GetAuthorizationModelId()
	var tuples []*openfgav1.TupleKey
	for _, r := range w.relations() {
		tuples = append(tuples, r.tuple())
	}
	for some := range slices.Chunk(tuples, tuplesAWrite) {
		if err := o.write(&openfgav1.WriteRequest{Writes: &openfgav1.WriteRequestWrites{TupleKeys: some}}); err != nil {
			return err
		}
	}
	return nil
}

func (r relation) tuple() *openfgav1.TupleKey {
	subject := r.subjectType + ":" + r.subject
	if r.of != "" {
		subject += "#" + r.of
	}
	return &openfgav1.TupleKey{Object: r.objectType + ":" + r.object, Relation: r.name, User: subject}
}

func (o *openFGA) write(req *openfgav1.WriteRequest) error {
	req.StoreId, req.AuthorizationModelId = o.id, o.model
	_, err := o.server.Write(context.Background(), req)
	return err
}

func (o *openFGA) Name() string { return "OpenFGA" }

func (o *openFGA) Check(q query) (bool, error) {
	answer, err := o.server.Check(context.Background(), &openfgav1.CheckRequest{
		StoreId: o.id, AuthorizationModelId: o.model,
		TupleKey: &openfgav1.CheckRequestTupleKey{
			User: q.who.String(), Relation: q.action, Object: "node:" + container(q.resource),
		},
	})
	return answer.GetAllowed(), err
}

func (o *openFGA) Revoke(who policy.Principal, role string) error {
	t := memberOf(idOf(who.String()), role).tuple()
	gone := []*openfgav1.TupleKeyWithoutCondition{{Object: t.Object, Relation: t.Relation, User: t.User}}
	return o.write(&openfgav1.WriteRequest{Deletes: &openfgav1.WriteRequestDeletes{TupleKeys: gone}})
}

func (o *openFGA) Grant(who policy.Principal, role string) error {
	come := []*openfgav1.TupleKey{memberOf(idOf(who.String()), role).tuple()}
	return o.write(&openfgav1.WriteRequest{Writes: &openfgav1.WriteRequestWrites{TupleKeys: come}})
}

func (o *openFGA) Close() {
	o.server.Close()
	o.store.Close()
}
