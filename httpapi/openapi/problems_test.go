package openapi_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/interlock-authz/interlock/httpapi/openapi"
)

// elsewhere are problems that no operation of the documents gives: those of a path or a method that
// does not exist, that of a guarded route of another program, and that of an event which ends a
// stream of leases.
var elsewhere = []string{"not-found", "method-not-allowed", "rule", "replaced"}

// TestProblemsAreThoseOfTheCode finds a problem type that is in the code only, or in a document only.
func TestProblemsAreThoseOfTheCode(t *testing.T) {
	inCode, documented := map[string]bool{}, map[string]bool{}
	for _, folder := range []string{"..", "../admin", "../authzen", "../forwardauth", "../leases", "../routes", "../internal/web"} {
		files, err := filepath.Glob(folder + "/*.go")
		require.NoError(t, err)
		require.NotEmpty(t, files, folder)
		for _, file := range files {
			if !strings.HasSuffix(file, "_test.go") {
				problemsIn(t, file, inCode)
			}
		}
	}
	for _, d := range openapi.All() {
		for _, op := range load(t, d).Operations {
			for _, types := range op.Problems() {
				for _, name := range types {
					documented[name] = true
					require.True(t, inCode[name], "%s.yaml, %s: no code gives the problem %s", d.Name(), op.ID, name)
				}
			}
		}
	}
	for name := range inCode {
		require.NotEqual(t, slices.Contains(elsewhere, name), documented[name], "problem %s", name)
	}
}

// problemsIn adds the problem types of a file: the names in calls of NewProblem, and in the table
// of errors.
func problemsIn(t *testing.T, file string, names map[string]bool) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	add := func(parts []ast.Expr, i int) {
		if i < len(parts) {
			if text, ok := parts[i].(*ast.BasicLit); ok && text.Kind == token.STRING {
				name, err := strconv.Unquote(text.Value)
				require.NoError(t, err)
				names[name] = true
			}
		}
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		switch v := n.(type) {
		case *ast.CallExpr:
			switch f := v.Fun.(type) {
			case *ast.Ident:
				if f.Name == "NewProblem" {
					add(v.Args, 1)
				}
			case *ast.SelectorExpr:
				if f.Sel.Name == "NewProblem" {
					add(v.Args, 1)
				}
			}
		case *ast.CompositeLit:
			if strings.HasSuffix(file, "internal/web/problem.go") && len(v.Elts) == 6 {
				add(v.Elts, 2)
			}
		}
		return true
	})
}

// TestThePageListsTheProblems keeps the table of docs/admin-api.md the same as the document.
func TestThePageListsTheProblems(t *testing.T) {
	documented := map[string]bool{"404 not-found": true, "405 method-not-allowed": true}
	for _, op := range load(t, openapi.Admin()).Operations {
		for status, types := range op.Problems() {
			for _, name := range types {
				documented[fmt.Sprintf("%d %s", status, name)] = true
			}
		}
	}
	page, err := os.ReadFile("../../docs/admin-api.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(page), "\n## Errors\n")
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile(`(?m)^\| ([0-9, ]+) \| (.*?) \|`).FindAllStringSubmatch(table, -1) {
		statuses, names := strings.Split(row[1], ", "), strings.Split(strings.ReplaceAll(row[2], "`", ""), ", ")
		for _, name := range names {
			known := 0
			for _, status := range statuses {
				if documented[status+" "+name] {
					listed[status+" "+name] = true
					known++
				}
			}
			require.NotZero(t, known, "the page lists %s %s, the document does not", row[1], name)
		}
	}
	require.Equal(t, documented, listed)
}
