package observe

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/interlock-authz/interlock/actors"
	"github.com/interlock-authz/interlock/actors/policy"
)

// DefaultPerSecond is the default of [LogOptions.PerSecond].
const DefaultPerSecond = 100

// LogOptions of [NewLog].
type LogOptions struct {
	// Logger gets the lines, with level info; nil for slog.Default.
	Logger *slog.Logger
	// All logs allowed requests too. The default is denied ones only.
	All bool
	// PerSecond bounds the lines of decisions in a second; 0 means [DefaultPerSecond].
	PerSecond int
	// RequestID returns the ID of the request to which a context belongs, empty if it has none;
	// nil for no IDs. It is called in a turn, so it must not block.
	RequestID func(context.Context) string
}

// Log writes a line for each decision and each update. Only its own goroutine calls the logger, so a
// slow logger delays no turn. Decisions over the limit are counted, and a line in the next second
// has the counts. Make one with [NewLog] and end it with [Log.Close], after the engine. It is safe for
// concurrent use.
type Log struct {
	Nothing
	options LogOptions
	lines   chan line
	taken   atomic.Int64 // lines of decisions in this second
	lost    atomic.Uint64
	left    []leftOut // the number is a power of two
	close   sync.Once
	closing chan struct{}
	done    chan struct{}
}

var _ actors.Observer = (*Log)(nil)

// leftOut counts decisions that were not logged. Principals on different processors rarely share one.
type leftOut struct {
	by [places]atomic.Uint64
}

// line is what is to be written: a decision, or an update.
type line struct {
	decision *actors.ObservedDecision // nil for an update
	request  string
	update   actors.AppliedUpdate
}

const (
	leftOutStripes = 64
	// updateLines is the room for lines of updates in the buffer.
	updateLines = 1024
)

// NewLog returns a log and starts its goroutine.
func NewLog(o LogOptions) *Log {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.PerSecond == 0 {
		o.PerSecond = DefaultPerSecond
	}
	l := &Log{
		options: o, lines: make(chan line, o.PerSecond+updateLines), left: make([]leftOut, leftOutStripes),
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	go l.run()
	return l
}

// Decided implements [actors.Observer]. It asks for the description of what will be logged.
func (l *Log) Decided(who policy.Principal, reason policy.Reason) bool {
	if !l.logs(reason) {
		return false
	}
	// The number is read first, so that a flood of decisions only reads it.
	if most := int64(l.options.PerSecond); l.taken.Load() < most && l.taken.Add(1) <= most {
		return true
	}
	l.leaveOut(who, reason)
	return false
}

// logs reports whether decisions with that reason are logged.
func (l *Log) logs(reason policy.Reason) bool { return reason != policy.ReasonAllowed || l.options.All }

func (l *Log) leaveOut(who policy.Principal, reason policy.Reason) {
	l.left[who.Hash()>>24%leftOutStripes].by[reason%places].Add(1)
}

// Described implements [actors.Observer].
func (l *Log) Described(ctx context.Context, d *actors.ObservedDecision) {
	if !l.logs(d.Reason()) {
		return // for an observer that the log is joined with
	}
	next := line{decision: d}
	if l.options.RequestID != nil {
		next.request = l.options.RequestID(ctx)
	}
	select {
	case l.lines <- next:
	default:
		l.leaveOut(d.Request().Principal, d.Reason())
	}
}

// Quiesced implements [actors.Observer].
func (l *Log) Quiesced(u actors.AppliedUpdate) {
	select {
	case l.lines <- line{update: u}:
	default:
		l.lost.Add(1)
	}
}

// Close writes what is in the buffer and ends the log. Decisions after it are not logged.
func (l *Log) Close() {
	l.close.Do(func() { close(l.closing) })
	<-l.done
}

func (l *Log) run() {
	defer close(l.done)
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case next := <-l.lines:
			l.write(&next)
		case <-second.C:
			l.taken.Store(0)
			l.writeLeftOut()
		case <-l.closing:
			l.drain()
			l.writeLeftOut()
			return
		}
	}
}

// drain writes what is in the buffer.
func (l *Log) drain() {
	for {
		select {
		case next := <-l.lines:
			l.write(&next)
		default:
			return
		}
	}
}

func (l *Log) write(next *line) {
	ctx := context.Background()
	if d := next.decision; d != nil {
		r := d.Request()
		attrs := []slog.Attr{
			slog.String("principal", r.Principal.String()), slog.String("action", r.Action), slog.String("resource", r.Resource),
			slog.Bool("allowed", d.Reason() == policy.ReasonAllowed), slog.String("reason", d.Reason().String()),
			slog.Uint64("revision", d.Revision()),
		}
		if role := d.Role(); role != "" {
			attrs = append(attrs, slog.String("role", role))
		}
		if next.request != "" {
			attrs = append(attrs, slog.String("request", next.request))
		}
		l.options.Logger.LogAttrs(ctx, slog.LevelInfo, "decision", attrs...)
		return
	}
	u := &next.update
	attrs := []slog.Attr{
		slog.String("author", u.Author.Principal.String()), slog.Uint64("revision", u.Revision), slog.Int("changes", len(u.Changes)),
		slog.Duration("quiesced-after", u.Quiesced.Sub(u.Delivered)), slog.Int("ended", u.Ended),
	}
	if u.Author.Credential != "" {
		attrs = append(attrs, slog.String("certificate", u.Author.Credential))
	}
	l.options.Logger.LogAttrs(ctx, slog.LevelInfo, "update", attrs...)
}

// writeLeftOut writes how many lines were left out since the last call, if there were any.
func (l *Log) writeLeftOut() {
	var by [places]uint64
	for i := range l.left {
		for reason := range l.left[i].by {
			if c := &l.left[i].by[reason]; c.Load() > 0 {
				by[reason] += c.Swap(0)
			}
		}
	}
	var attrs []any
	for reason, n := range by {
		if n > 0 {
			attrs = append(attrs, slog.Uint64(policy.Reason(reason).String(), n))
		}
	}
	if n := l.lost.Swap(0); n > 0 {
		attrs = append(attrs, slog.Uint64("updates", n))
	}
	if attrs != nil {
		l.options.Logger.Info("decisions left out of the log", attrs...)
	}
}
