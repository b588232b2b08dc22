package race

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/interlock-authz/interlock/actors/policy/strictyaml"
)

// ErrTarget is wrapped by what is wrong with a target.
var ErrTarget = errors.New("race: the target is not usable")

// Target describes an API: the operation that it protects, and how the permission for it
// is given and taken.
type Target struct {
	// Name is what the report calls it.
	Name string `yaml:"name"`
	// CA is a file with the authorities of the server's certificate.
	CA string `yaml:"ca"`
	// ServerName is the name in the server's certificate; empty for the host of the URL.
	ServerName string `yaml:"server-name,omitempty"`
	// HTTP2 selects HTTP/2 instead of HTTP/1.1.
	HTTP2 bool `yaml:"http2,omitempty"`
	// Promise is what the API promises when it acknowledges a revocation; empty for
	// [Quiescent].
	Promise Promise `yaml:"promise,omitempty"`
	// Call is the protected operation.
	Call Call `yaml:"call"`
	// Grant gives the permission for it, and Revoke takes it.
	Grant  Change `yaml:"grant"`
	Revoke Change `yaml:"revoke"`
	// Found reads the permission before the run, and Restore puts it back afterwards. Both or
	// neither; without them the permission is granted at the end.
	Found   *Found  `yaml:"found,omitempty"`
	Restore *Change `yaml:"restore,omitempty"`
	// Effects looks at what the operation changes; nil if nothing does.
	Effects *Effects `yaml:"effects,omitempty"`
	// Echo is a protected operation that lasts; nil if there is none.
	Echo *Echo `yaml:"echo,omitempty"`
}

// Promise is what an API promises when it acknowledges a revocation.
type Promise string

// The promises.
const (
	// Quiescent: no use that the revocation forbids is running, and none will start.
	Quiescent Promise = "quiescent"
	// NoNewStarts: none will start. Uses that are running may end later.
	NoNewStarts Promise = "no-new-starts"
)

// promise returns the target's promise or the default.
func (t *Target) promise() Promise { return cmp.Or(t.Promise, Quiescent) }

// Found is a request whose answer says how the permission is granted.
type Found struct {
	Request `yaml:",inline"`
	// Value is a path into the answer's JSON. What is there is {{.Found}} in the templates of
	// [Target.Restore], where {{json .}} writes a value as JSON.
	Value string `yaml:"value"`
}

// Request is an HTTP request. URL, body and the values of headers are templates of
// text/template: {{.Number}} counts the requests of a run from 1, {{.Run}} is a text that
// is the run's own, {{.Seen}} is how many entries of [Effects] were seen.
type Request struct {
	Method string `yaml:"method"`
	URL    string `yaml:"url"`
	// Headers are sent as they stand.
	Headers map[string]string `yaml:"headers,omitempty"`
	Body    string            `yaml:"body,omitempty"`
	// Certificate and Key are the client's files.
	Certificate string `yaml:"certificate"`
	Key         string `yaml:"key"`
}

// Answer says which answers count.
type Answer struct {
	// Status lists the status codes.
	Status []int `yaml:"status"`
	// Where wants these values in the answer's JSON: by path, such as "items.0.done".
	Where map[string]string `yaml:"where,omitempty"`
}

// Call is the protected operation. An answer that is neither allowed nor denied is
// counted, and proves nothing.
type Call struct {
	Request `yaml:",inline"`
	Allowed Answer `yaml:"allowed"`
	Denied  Answer `yaml:"denied"`
	// Use finds in an answer that is allowed when the use began and ended; nil if the
	// target does not say it.
	Use *Stamps `yaml:"use,omitempty"`
}

// Stamps are paths to readings of CLOCK_MONOTONIC, in nanoseconds.
type Stamps struct {
	Start string `yaml:"start"`
	End   string `yaml:"end"`
}

// Change is an administration call. It is acknowledged when its whole answer was read.
type Change struct {
	Request      `yaml:",inline"`
	Acknowledged Answer `yaml:"acknowledged"`
}

// Effects is a call that looks at what the protected operation changes.
type Effects struct {
	Request `yaml:",inline"`
	// Value is a path to something that every use changes, such as a counter.
	Value string `yaml:"value,omitempty"`
	// Entries is a path to a list of uses that were not seen before, and Use finds in each
	// when it began and ended.
	Entries string  `yaml:"entries,omitempty"`
	Use     *Stamps `yaml:"use,omitempty"`
}

// Echo is a protected operation that sends each line of its request back while it is
// authorized, in the same request.
type Echo struct {
	Request `yaml:",inline"`
	// Streams is how many are kept open, 4 if it is 0.
	Streams int `yaml:"streams,omitempty"`
}

// LoadTarget reads a target from a YAML file. Names of files in it are relative to its own
// folder. Errors say where, and wrap [ErrTarget] if the file was read.
func LoadTarget(path string) (*Target, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &Target{}
	if err := strictyaml.DecodeWithAliases(text, t); err != nil {
		return nil, fmt.Errorf("%w: %s:%s", ErrTarget, path, strings.ReplaceAll(err.Error(), "\n", "\n"+path+":"))
	}
	t.resolve(filepath.Dir(path))
	if err := t.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Write writes the target into a file, as [LoadTarget] reads it. Names of files are
// written as they are.
func (t *Target) Write(path string) error {
	text, err := yaml.Marshal(t)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// requests are all requests of the target, by the field that they stand in.
func (t *Target) requests() map[string]*Request {
	all := map[string]*Request{"call": &t.Call.Request, "grant": &t.Grant.Request, "revoke": &t.Revoke.Request}
	if t.Effects != nil {
		all["effects"] = &t.Effects.Request
	}
	if t.Echo != nil {
		all["echo"] = &t.Echo.Request
	}
	if t.Found != nil {
		all["found"] = &t.Found.Request
	}
	if t.Restore != nil {
		all["restore"] = &t.Restore.Request
	}
	return all
}

func (t *Target) resolve(folder string) {
	names := []*string{&t.CA}
	for _, r := range t.requests() {
		names = append(names, &r.Certificate, &r.Key)
	}
	for _, name := range names {
		if *name != "" && !filepath.IsAbs(*name) {
			*name = filepath.Join(folder, *name)
		}
	}
}

// Check says what is missing or contradicts itself, all of it.
func (t *Target) Check() error {
	var errs []error
	wrong := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: %s: %s", ErrTarget, field, fmt.Sprintf(format, args...)))
	}
	if t.CA == "" {
		wrong("ca", "name the file with the authority of the server's certificate")
	}
	for field, r := range t.requests() {
		r.check(func(sub, text string) { wrong(field+"."+sub, "%s", text) })
	}
	for field, a := range map[string]Answer{
		"call.allowed": t.Call.Allowed, "call.denied": t.Call.Denied,
		"grant.acknowledged": t.Grant.Acknowledged, "revoke.acknowledged": t.Revoke.Acknowledged,
	} {
		if len(a.Status) == 0 {
			wrong(field+".status", "list the status codes that count, such as [200]")
		}
	}
	if p := t.promise(); p != Quiescent && p != NoNewStarts {
		wrong("promise", "%q is unknown; use %s or %s", p, Quiescent, NoNewStarts)
	}
	if (t.Found == nil) != (t.Restore == nil) {
		wrong("restore", "found and restore go together")
	}
	if t.Found != nil && t.Found.Value == "" {
		wrong("found.value", "name the path of the permission in the answer")
	}
	for _, status := range t.Call.Allowed.Status {
		if slices.Contains(t.Call.Denied.Status, status) && len(t.Call.Allowed.Where)+len(t.Call.Denied.Where) == 0 {
			wrong("call.denied.status", "%d is allowed too; tell them apart by where", status)
		}
	}
	if e := t.Effects; e != nil && e.Value == "" && e.Entries == "" {
		wrong("effects", "name a value, or entries with their use")
	}
	if e := t.Effects; e != nil && e.Entries != "" && e.Use == nil {
		wrong("effects.use", "say where an entry has its start and end")
	}
	for field, u := range map[string]*Stamps{"call.use": t.Call.Use, "effects.use": t.effectsUse()} {
		if u != nil && (u.Start == "" || u.End == "") {
			wrong(field, "needs both a start and an end")
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

func (t *Target) effectsUse() *Stamps {
	if t.Effects == nil {
		return nil
	}
	return t.Effects.Use
}

func (r *Request) check(wrong func(field, text string)) {
	if r.Method == "" {
		wrong("method", "is missing, such as POST")
	}
	if u, err := url.Parse(strings.NewReplacer("{{", "", "}}", "").Replace(r.URL)); err != nil || u.Scheme != "https" || u.Host == "" {
		wrong("url", fmt.Sprintf("%q is no URL of the form https://host/path", r.URL))
	}
	if r.Certificate == "" || r.Key == "" {
		wrong("certificate", "name the files of the client's certificate and key")
	}
	if _, err := r.compile(); err != nil {
		wrong("template", err.Error())
	}
}
