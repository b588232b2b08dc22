package openapi_test

import (
	"bytes"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/internal/openapitest"
	"github.com/interlock-authz/interlock/httpapi/openapi"
)

func load(t *testing.T, d openapi.Document) *openapitest.API {
	t.Helper()
	api, err := openapitest.Load(d) // compiles every schema and follows every reference
	require.NoError(t, err)
	return api
}

// The schema is that of the OpenAPI Initiative: see testdata/README.md.
func TestDocumentsAreOpenAPI(t *testing.T) {
	text, err := os.ReadFile("testdata/openapi-3.1-schema.json")
	require.NoError(t, err)
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	require.NoError(t, c.AddResource("openapi.json", schema))
	official, err := c.Compile("openapi.json")
	require.NoError(t, err)
	for _, d := range openapi.All() {
		require.NoError(t, official.Validate(load(t, d).Value), d.Name())
		require.NoError(t, openapitest.CheckKeywords(load(t, d)), d.Name())
	}
}

func TestOperationsAreComplete(t *testing.T) {
	ids := regexp.MustCompile(`^[a-z]+[A-Za-z]*$`)
	for _, d := range openapi.All() {
		seen := map[string]bool{}
		for _, op := range load(t, d).Operations {
			at := d.Name() + ": " + op.Method + " " + op.Path
			require.Regexp(t, ids, op.ID, at)
			require.False(t, seen[op.ID], "%s: %s is not unique", at, op.ID)
			seen[op.ID] = true
			require.NotEmpty(t, op.Summary, at)
			require.False(t, strings.HasSuffix(op.Summary, "."), at)
			if !op.Public { // an engine answers, or does not
				for _, status := range []int{401, 403, 429, 500, 503, 504} {
					require.NotEmpty(t, op.Problems()[status], "%s: %d", at, status)
				}
			}
			refusals := 0
			for status, types := range op.Problems() {
				require.NotEmpty(t, types, "%s: %d", at, status)
				if status < 500 {
					refusals++
				}
			}
			if !op.Public || d.Name() == openapi.Operator().Name() {
				require.NotZero(t, refusals, "%s has no problem of a client", at)
			}
		}
		require.NotEmpty(t, seen)
	}
}

func TestExamplesAreValid(t *testing.T) {
	for _, d := range openapi.All() {
		examples := load(t, d).Examples
		require.NotEmpty(t, examples)
		for i := range examples {
			require.NoError(t, examples[i].Check(), "%s.yaml#%s", d.Name(), examples[i].At)
		}
	}
}

// A document is complete in itself, so the components that several have in common are repeated.
func TestCommonComponentsAreTheSame(t *testing.T) {
	first, common := map[string]any{}, 0
	for _, d := range openapi.All() {
		components := load(t, d).Value.(map[string]any)["components"].(map[string]any)
		for kind, all := range components {
			for name, component := range all.(map[string]any) {
				key := kind + "/" + name
				if other, ok := first[key]; ok {
					require.Equal(t, other, component, "%s in %s.yaml and in another document", key, d.Name())
					common++
				}
				first[key] = component
			}
		}
	}
	require.NotZero(t, common)
}

func TestDocumentsAreServed(t *testing.T) {
	for _, d := range openapi.All() {
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest("GET", openapi.Path, nil))
		require.Equal(t, 200, w.Code)
		require.Equal(t, d.String(), w.Body.String())
		require.Equal(t, "application/yaml", w.Header().Get("Content-Type"))
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	}
}

// small is a document with one of each kind.
const small = `
openapi: 3.1.0
info: {title: small, version: "1"}
paths:
  /things/{id}:
    get:
      operationId: getThing
      summary: Return a thing
      parameters:
        - {name: wait, in: query, schema: {type: string, pattern: '^[0-9]+s$'}, example: 20s}
      responses:
        '200': {$ref: '#/components/responses/Found'}
components:
  responses:
    Found:
      description: A thing.
      content:
        application/json:
          schema: {$ref: '#/components/schemas/Thing'}
          examples: {thing: {value: {how: canceled}}}
  schemas:
    Thing:
      type: object
      required: [how]
      properties: {how: {enum: [canceled, finished], description: How it ended.}}
`

// A checker is proved by what it refuses.
func TestBrokenDocumentsAreRefused(t *testing.T) {
	parse := func(old, replaced string) (*openapitest.API, error) {
		broken := strings.Replace(small, old, replaced, 1)
		require.Equal(t, old == replaced, broken == small, old)
		return openapitest.Parse("small", broken)
	}
	for _, c := range []struct{ what, old, new, want string }{
		{"reference of a schema", "schemas/Thing'", "schemas/Think'", "Think"},
		{"reference of a response", "responses/Found'", "responses/Lost'", "leads nowhere"},
		{"pattern", "'^[0-9]+s$'", "'^[0-9'", "pattern"},
		{"example of a parameter", "example: 20s", "example: soon", "soon"},
		{"kind of a keyword", "required: [how]", "required: how", "required"},
	} {
		_, err := parse(c.old, c.new)
		require.ErrorContains(t, err, c.want, c.what)
	}
	api, err := parse("", "")
	require.NoError(t, err)
	require.NoError(t, openapitest.CheckKeywords(api))
	require.Len(t, api.Examples, 1)
	require.NoError(t, api.Examples[0].Check())
	api, err = parse("description: How", "decription: How")
	require.NoError(t, err)
	require.ErrorContains(t, openapitest.CheckKeywords(api), "decription")
	for _, replaced := range []string{"{how: cancelled}", "{how: canceled, why: x}", "{}"} {
		api, err = parse("{how: canceled}", replaced)
		require.NoError(t, err)
		require.Error(t, api.Examples[0].Check(), replaced)
	}
}
