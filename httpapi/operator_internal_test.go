package httpapi

import (
	"net/http"
	"testing"

	"github.com/interlock-authz/interlock/httpapi/internal/openapitest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

func TestRoutesForOperatorsAreDocumented(t *testing.T) {
	openapitest.RequireRoutes(t, openapi.Operator(), newOperatorRouter(OperatorOptions{Metrics: http.NotFoundHandler()}))
}
