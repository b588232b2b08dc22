package admin

import (
	"testing"

	"github.com/interlock-authz/interlock/httpapi/internal/openapitest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

func TestRoutesAreDocumented(t *testing.T) {
	openapitest.RequireRoutes(t, openapi.Admin(), newRouter(Options{}))
}
