package extauthz

import (
	"bytes"
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/interlock-authz/interlock/httpapi"
)

// answer keeps the answer of the decider. The zero status is a denial.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newAnswer() *answer { return &answer{header: http.Header{}} }

// Header implements [http.ResponseWriter].
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) { a.status = cmp.Or(a.status, status) }

// Write implements [http.ResponseWriter].
func (a *answer) Write(data []byte) (int, error) { return a.body.Write(data) }

// response makes the answer of the service. removed are the headers that the upstream must not get.
func (a *answer) response(removed []string) (*authv3.CheckResponse, error) {
	if a.status != http.StatusOK {
		return a.denied(), nil
	}
	principal := a.header.Get(httpapi.PrincipalHeader)
	revision, err := strconv.ParseUint(a.header.Get(httpapi.RevisionHeader), 10, 64)
	if err != nil {
		return nil, err
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
			Headers: []*corev3.HeaderValueOption{
				header(httpapi.PrincipalHeader, principal),
				header(httpapi.RevisionHeader, strconv.FormatUint(revision, 10)),
			},
			HeadersToRemove: removed,
		}},
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{
			"principal": structpb.NewStringValue(principal),
			"revision":  structpb.NewNumberValue(float64(revision)),
		}},
	}, nil
}

// denied makes the answer of a denial: the status, the headers and the body of the problem document.
func (a *answer) denied() *authv3.CheckResponse {
	code := codes.PermissionDenied
	if a.status == http.StatusUnauthorized {
		code = codes.Unauthenticated
	}
	denied := &authv3.DeniedHttpResponse{
		Status: &typev3.HttpStatus{Code: typev3.StatusCode(cmp.Or(a.status, http.StatusForbidden))},
		Body:   a.body.String(),
	}
	for _, name := range slices.Sorted(maps.Keys(a.header)) {
		denied.Headers = append(denied.Headers, header(name, a.header.Get(name)))
	}
	return &authv3.CheckResponse{
		Status:       &rpcstatus.Status{Code: int32(code)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: denied},
	}
}

// header sets a header in place of one of that name.
func header(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}
