package main

import (
	"context"
	_ "embed"
	"slices"

	v1 "github.com/authzed/authzed-go/proto/authzed/api/v1"
	"github.com/authzed/spicedb/pkg/cmd/datastore"
	"github.com/authzed/spicedb/pkg/cmd/server"
	"github.com/authzed/spicedb/pkg/cmd/util"
	"google.golang.org/grpc"

	"github.com/interlock-authz/interlock/actors/policy"
)

//go:embed models/spicedb.zed
var spiceDBModel string

// updatesAWrite is the maximum number of relations in one write.
const updatesAWrite = 1000

// spiceDB is SpiceDB as a library, as its examples embed it: over memdb, without caches
// of answers, called by gRPC through a buffer instead of a network. The schema
// cache stays on, because a check without it takes more than twice as long.
type spiceDB struct {
	connection  *grpc.ClientConn
	permissions v1.PermissionsServiceClient
	stop        func()
	stopped     chan struct{}
}

func newSpiceDB(w *world) (engine, error) {
	ctx, stop := context.WithCancel(context.Background())
	s := &spiceDB{stop: stop, stopped: make(chan struct{})}
	run, err := s.connect(ctx)
	if err != nil {
		stop()
		return nil, err
	}
	go func() {
		defer close(s.stopped)
		_ = run(ctx)
	}()
	if err := s.fill(ctx, w); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// connect returns a function that runs the server until its context is done.
func (s *spiceDB) connect(ctx context.Context) (run func(context.Context) error, err error) {
	store, err := datastore.NewDatastore(ctx,
		datastore.DefaultDatastoreConfig().ToOption(),
		datastore.WithEngine(datastore.MemoryEngine),
		datastore.WithRequestHedgingEnabled(false),
	)
	if err != nil {
		return nil, err
	}
	none := server.CacheConfig{}
	config := server.NewConfigWithOptionsAndDefaults(
		server.WithDatastore(store),
		server.WithGRPCServer(util.GRPCServerConfig{Network: util.BufferedNetwork, Enabled: true}),
		server.WithGRPCAuthFunc(func(ctx context.Context) (context.Context, error) { return ctx, nil }),
		server.WithHTTPGateway(util.HTTPServerConfig{}),
		server.WithMetricsAPI(util.HTTPServerConfig{}),
		server.WithSilentlyDisableTelemetry(true),
		server.WithTelemetryEndpoint(""),
		server.WithDispatchCacheConfig(none),
		server.WithClusterDispatchCacheConfig(none),
	)
	made, err := config.Complete(ctx)
	if err != nil {
		return nil, err
	}
	if s.connection, err = made.NewClient(); err != nil {
		return nil, err
	}
	s.permissions = v1.NewPermissionsServiceClient(s.connection)
	return made.Run, nil
}

func (s *spiceDB) fill(ctx context.Context, w *world) error {
	schema := v1.NewSchemaServiceClient(s.connection)
	if _, err := schema.WriteSchema(ctx, &v1.WriteSchemaRequest{Schema: spiceDBModel}); err != nil {
		return err
	}
	var updates []*v1.RelationshipUpdate
	for _, r := range w.relations() {
		updates = append(updates, r.update(v1.RelationshipUpdate_OPERATION_TOUCH))
	}
	for some := range slices.Chunk(updates, updatesAWrite) {
		if err := s.write(some...); err != nil {
			return err
		}
	}
	return nil
}

func object(kind, id string) *v1.ObjectReference {
	return &v1.ObjectReference{ObjectType: kind, ObjectId: id}
}

func (r relation) update(o v1.RelationshipUpdate_Operation) *v1.RelationshipUpdate {
	return &v1.RelationshipUpdate{Operation: o, Relationship: &v1.Relationship{
		Resource: object(r.objectType, r.object),
		Relation: r.name,
		Subject:  &v1.SubjectReference{Object: object(r.subjectType, r.subject), OptionalRelation: r.of},
	}}
}

func (s *spiceDB) write(updates ...*v1.RelationshipUpdate) error {
	_, err := s.permissions.WriteRelationships(context.Background(), &v1.WriteRelationshipsRequest{Updates: updates})
	return err
}

func (s *spiceDB) Name() string { return "SpiceDB" }

func (s *spiceDB) Check(q query) (bool, error) {
	answer, err := s.permissions.CheckPermission(context.Background(), &v1.CheckPermissionRequest{
		Consistency: &v1.Consistency{Requirement: &v1.Consistency_FullyConsistent{FullyConsistent: true}},
		Resource:    object("node", container(q.resource)),
		Permission:  q.action,
		Subject:     &v1.SubjectReference{Object: object("user", idOf(q.who.String()))},
	})
	return answer.GetPermissionship() == v1.CheckPermissionResponse_PERMISSIONSHIP_HAS_PERMISSION, err
}

func (s *spiceDB) Revoke(who policy.Principal, role string) error {
	return s.write(memberOf(idOf(who.String()), role).update(v1.RelationshipUpdate_OPERATION_DELETE))
}

func (s *spiceDB) Grant(who policy.Principal, role string) error {
	return s.write(memberOf(idOf(who.String()), role).update(v1.RelationshipUpdate_OPERATION_TOUCH))
}

func (s *spiceDB) Close() {
	_ = s.connection.Close()
	s.stop()
	<-s.stopped
}
