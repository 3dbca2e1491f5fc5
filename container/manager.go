package container

import (
	"context"
	"log/slog"
	"os"
	"time"

	digest "github.com/opencontainers/go-digest"

	"minict/runtime/plan"
	"minict/store"
)

// Manager keeps the containers of one pair of directories. All of its methods
// may be called by any number of processes at once: what they share are files
// and locks. A ref is a name, an id, or the unique beginning of an id.
type Manager struct {
	Root  string // absolute; durable: /var/lib/minict
	State string // absolute; forgotten by a reboot: /run/minict
	Store *store.Store
	Log   *slog.Logger // nil for none
}

// Find finds the image that a container is made of. It is called under the
// index's shared lock, which is held until the container has its claim on the
// image. If it gives store.ErrNotFound, so does the caller.
type Find func(*store.Tx) (store.Image, error)

// Streams are a foreground command's own input and output. TTY says whether
// the terminal behind In is put into raw mode, and its size passed on.
type Streams struct {
	In       *os.File // nil for none
	Out, Err *os.File // nil for nowhere
	// DetachKeys end the attachment, not the container: "ctrl-p,ctrl-q" is
	// what "" means. Only with a terminal.
	DetachKeys string
	// NoSignals: don't pass signals that this process gets to the container.
	NoSignals bool
}

// RunOptions say how a container is started.
type RunOptions struct {
	// Streams are attached from the first byte on; nil starts the container
	// in the background.
	Streams *Streams
	// Created is called, if not nil, when the container has its id and
	// before its program runs. An error ends everything.
	Created func(id string) error
	// Timed asks for the plan and for the time of each of its steps.
	Timed bool
	// Explained is called, if Timed, as soon as the set-up has ended well.
	Explained func(Explanation)
}

// Explanation is what a start consisted of.
type Explanation struct {
	Plan *plan.Plan
	// Clocks has for each step of the plan the time of its begin,
	// CLOCK_MONOTONIC in nanoseconds, and 0 if it was not begun; nil if the
	// plan was not carried out.
	Clocks []uint64
}

// Ended says how a foreground run or an attachment came to its end.
type Ended struct {
	ID       string
	Exit     int  // the exit status, 128+n for signal n
	Detached bool // the container goes on, Exit means nothing
}

// Run creates a container and starts it: the quick way. With streams it
// returns when the container has ended or the user has detached; without,
// when its program runs. If it fails, there is no container any more.
func (m *Manager) Run(ctx context.Context, o *Options, find Find, r RunOptions) (Ended, error) {
	panic("not yet")
}

// Explain makes the plan of a container that is not made: nothing stays.
func (m *Manager) Explain(ctx context.Context, o *Options, find Find) (Explanation, error) {
	panic("not yet")
}

// Start starts a container that does not run: ErrRunning if it does. With
// streams it returns as Run does.
func (m *Manager) Start(ctx context.Context, ref string, r RunOptions) (Ended, error) {
	panic("not yet")
}

// Attach connects streams to a running container: ErrNotRunning if it isn't.
func (m *Manager) Attach(ctx context.Context, ref string, s Streams) (Ended, error) { panic("not yet") }

// ExecOptions describe a further command in a running container.
type ExecOptions struct {
	Args       []string
	Env        []string // as in Options
	WorkDir    string   // "" is the container's
	User       string   // "" is the container's
	TTY        bool
	OpenStdin  bool
	Privileged bool
	Streams    *Streams // nil in the background
	Getenv     func(name string) (value string, ok bool)
}

// Exec runs a command in a running container and returns when it has ended,
// or, without streams, when it runs.
func (m *Manager) Exec(ctx context.Context, ref string, o *ExecOptions) (Ended, error) {
	panic("not yet")
}

// Stop asks a container to end by its stop signal, and kills it if it hasn't
// after the timeout: nil is the container's own, negative is for ever. One
// that does not run is left alone. It returns when everything is cleaned up.
func (m *Manager) Stop(ctx context.Context, ref string, timeout *time.Duration) error {
	panic("not yet")
}

// Kill sends a signal (name or number, "" is KILL) to a container's first
// process: ErrNotRunning if there is none.
func (m *Manager) Kill(ctx context.Context, ref string, signal string) error { panic("not yet") }

// Wait waits for the end of a container and gives its exit status. For one
// that does not run, the status is that of its last run.
func (m *Manager) Wait(ctx context.Context, ref string) (exit int, err error) { panic("not yet") }

// Pause freezes a container's processes, Unpause thaws them.
func (m *Manager) Pause(ctx context.Context, ref string) error   { panic("not yet") }
func (m *Manager) Unpause(ctx context.Context, ref string) error { panic("not yet") }

// Summary is what a list shows of a container.
type Summary struct {
	ID         string
	Name       string
	Image      string // as asked for; the root directory if there is no image
	ImageID    digest.Digest
	Args       []string
	Labels     map[string]string
	Created    time.Time
	State      State
	ExitCode   int // of the last run, if State is Exited
	StartedAt  time.Time
	FinishedAt time.Time
}

// State is what a container is doing.
type State string

const (
	Created State = "created" // never started
	Running State = "running"
	Paused  State = "paused"
	Exited  State = "exited"
)

// List gives the containers, newest first: those that run, or all.
func (m *Manager) List(ctx context.Context, all bool) ([]Summary, error) { panic("not yet") }

// Claims are what containers need of the store.
type Claims struct {
	Images map[digest.Digest][]string // image id to the ids of its containers
	Layers map[digest.Digest]bool     // keys of layer directories
}

// InUse gives the claims of all containers. To be sure of it, call it under
// the index's exclusive lock: a container claims its image under the shared
// one.
func (m *Manager) InUse() (Claims, error) { panic("not yet") }
