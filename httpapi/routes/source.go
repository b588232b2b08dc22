package routes

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/interlock-authz/interlock/actors/policy"
	"github.com/interlock-authz/interlock/httpapi/internal/web"
)

// Source is where a property of the resource comes from: a variable of the path or a header. A
// property without a value is missing, and conditions that read it deny.
type Source struct {
	// Path is the name of a variable, Header that of a header. One of them is set.
	Path   string `yaml:"path"`
	Header string `yaml:"header"`
	// Type is "string" (the default), "number" or "bool". A value of another type is answered
	// with a 400.
	Type string `yaml:"type"`
}

func (s Source) check() error {
	if (s.Path == "") == (s.Header == "") {
		return fmt.Errorf("%w: it needs either path or header", policy.ErrInvalid)
	}
	if !slices.Contains([]string{"", "string", "number", "bool"}, s.Type) {
		return fmt.Errorf("%w: type %q; it must be string, number or bool", policy.ErrInvalid, s.Type)
	}
	return nil
}

// properties returns what reads a route's properties from a request, nil if it has none.
func (r *Route) properties() func(*http.Request) (map[string]any, error) {
	if len(r.Properties) == 0 {
		return nil
	}
	sources := r.Properties
	return func(r *http.Request) (map[string]any, error) {
		values := make(map[string]any, len(sources))
		for name, source := range sources {
			text, found, err := source.text(r)
			if err != nil {
				return nil, err
			}
			if !found {
				continue
			}
			if values[name], err = source.parse(text); err != nil {
				return nil, web.NewProblem(http.StatusBadRequest, "malformed-property", "Malformed property",
					"The property "+name+" is not a "+source.Type+".")
			}
		}
		return values, nil
	}
}

// text returns the text of a property, and whether the request has it.
func (s Source) text(r *http.Request) (text string, found bool, err error) {
	if s.Header != "" {
		switch values := r.Header.Values(s.Header); len(values) {
		case 0:
			return "", false, nil
		case 1:
			return values[0], true, nil
		}
		return "", false, web.NewProblem(http.StatusBadRequest, "malformed-property", "Malformed property",
			"The header "+s.Header+" occurs more than once.")
	}
	text, err = url.PathUnescape(mux.Vars(r)[s.Path])
	if err != nil || strings.Contains(text, "%") {
		return "", false, web.NewProblem(http.StatusBadRequest, "path", "Path not canonical",
			"A part of the path holds a percent sign, which some readers decode again.")
	}
	return text, true, nil
}

// parse returns the value of a property.
func (s Source) parse(text string) (any, error) {
	switch s.Type {
	case "number":
		if !number.MatchString(text) { // ParseFloat also takes infinity and hexadecimal numbers
			return nil, strconv.ErrSyntax
		}
		return strconv.ParseFloat(text, 64)
	case "bool":
		if text != "true" && text != "false" {
			return nil, strconv.ErrSyntax
		}
		return text == "true", nil
	}
	return text, nil
}

// number matches the numbers of JSON.
var number = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
