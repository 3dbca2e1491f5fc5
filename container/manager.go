package container

import (
	"log/slog"
	"os"
	"time"

	"minict/internal/caught"
	"minict/network"
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
	// Signals gives signals that this process gets, to be passed on to the
	// container from then on; nil passes none on.
	Signals func() (*caught.Signals, error)
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
	// Attached is how it is connected, nil if it has no networks or was not
	// started, and Attaching how long that took.
	Attached  *network.Attached
	Attaching time.Duration
}

// Ended says how a foreground run or an attachment came to its end.
type Ended struct {
	ID       string
	Exit     int  // the exit status, 128+n for signal n
	Detached bool // the container goes on, Exit means nothing
}
