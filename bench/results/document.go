// Package results stores the results of benchmarks: as JSON, as tables in Markdown, as
// plots in SVG. It compares them with an earlier run.
package results

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/interlock-authz/interlock/certs/atomicfile"
)

// Document is one run of benchmarks.
type Document struct {
	// Command is the command that was run. Commit is the revision of the code, with
	// "-dirty" if it was changed.
	Command string    `json:"command"`
	Commit  string    `json:"commit"`
	Go      string    `json:"go"`
	Machine string    `json:"machine"`
	Time    time.Time `json:"time"`
	// Sections are the tables.
	Sections []*Section `json:"sections"`
}

// Section is a table of measurements under the same conditions.
type Section struct {
	// Name is unique in its document.
	Name string `json:"name"`
	// Notes are printed below the table.
	Notes []string `json:"notes,omitzero"`
	Rows  []*Row   `json:"rows"`
}

// Row is one thing that is measured.
type Row struct {
	// Name is unique in its section.
	Name string `json:"name"`
	// Facts are properties that are not measured, in the order of their columns.
	Facts   []Fact    `json:"facts,omitzero"`
	Metrics []*Metric `json:"metrics"`
}

// Fact is a column that is not measured.
type Fact struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// Metric is one quantity, measured several times.
type Metric struct {
	// Name is unique in its row.
	Name string `json:"name"`
	// Unit is "s", "1/s", "B", or "" for a ratio or a count.
	Unit string `json:"unit,omitzero"`
	// More means that a greater value is better.
	More bool `json:"more,omitzero"`
	// Samples are the measurements.
	Samples []float64 `json:"samples"`
	// Target is the limit for the value, nil for none.
	Target *Target `json:"target,omitzero"`
}

// Target is a limit for a metric: a maximum, or with AtLeast a minimum.
type Target struct {
	Limit   float64 `json:"limit"`
	AtLeast bool    `json:"atLeast,omitzero"`
}

// New describes this process, its machine and its code.
func New(command string) *Document {
	return &Document{
		Command: command, Commit: commit(), Go: runtime.Version(),
		Machine: fmt.Sprintf("%s, %d processors, %s/%s", processor(), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH),
		Time:    time.Now().UTC().Truncate(time.Second),
	}
}

// Add adds a section and returns it.
func (d *Document) Add(name string) *Section {
	s := &Section{Name: name}
	d.Sections = append(d.Sections, s)
	return s
}

// Add adds a row and returns it.
func (s *Section) Add(name string, facts ...Fact) *Row {
	r := &Row{Name: name, Facts: facts}
	s.Rows = append(s.Rows, r)
	return r
}

// Compact removes the sections without rows, and reports whether any section is left.
func (d *Document) Compact() bool {
	d.Sections = slices.DeleteFunc(d.Sections, func(s *Section) bool { return len(s.Rows) == 0 })
	return len(d.Sections) > 0
}

// Note adds a sentence below the table.
func (s *Section) Note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// Add adds metrics and returns the row.
func (r *Row) Add(metrics ...*Metric) *Row {
	r.Metrics = append(r.Metrics, metrics...)
	return r
}

// Metric returns the metric of that name, nil if there is none.
func (r *Row) Metric(name string) *Metric {
	for _, m := range r.Metrics {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// commit returns the revision that the build recorded.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	return revision + dirty
}

// processor returns the name of the processor, if the system has it.
func processor() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

// Read reads a document from a file.
func Read(path string) (*Document, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	d := &Document{}
	if err := json.Unmarshal(text, d, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%s is no result of interlock-lab bench: %w", path, err)
	}
	return d, nil
}

// Save writes the document into a folder, as name.json and as name.md.
func (d *Document) Save(folder, name string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	text, err := json.Marshal(d, jsontext.WithIndent(" "), json.Deterministic(true))
	if err != nil {
		return err
	}
	return errors.Join(
		replace(filepath.Join(folder, name+".json"), func(w io.Writer) error { _, err := w.Write(append(text, '\n')); return err }),
		replace(filepath.Join(folder, name+".md"), d.Markdown),
	)
}

// replace writes a whole file or nothing.
func replace(path string, write func(io.Writer) error) error {
	var text bytes.Buffer
	if err := write(&text); err != nil {
		return err
	}
	return atomicfile.Replace(atomicfile.File{Path: path, Data: text.Bytes(), Mode: 0o644})
}
