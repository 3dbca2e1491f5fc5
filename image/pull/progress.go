package pull

import (
	"minict/image"
	"minict/store"
)

// State is how far a layer is.
type State int

const (
	Waiting   State = iota // for its turn, or for another process that fetches it
	Exists                 // it is in the store: "Already exists"
	Fetching               // it comes from the registry and is unpacked as it comes
	Unpacking              // it has come, and is unpacked onto its parents
	Complete               // it is unpacked and checked: "Pull complete"
)

// String is what Docker's client writes for the state.
func (s State) String() string {
	switch s {
	case Waiting:
		return "Waiting"
	case Exists:
		return "Already exists"
	case Fetching:
		return "Downloading"
	case Unpacking:
		return "Extracting"
	case Complete:
		return "Pull complete"
	}
	return "Unknown"
}

// Progress is told how a pull goes on. Layer and Bytes are called by several
// goroutines at once, and must return soon. A failure has no method: the pull
// returns it.
type Progress interface {
	// Begin comes once, when the layers are known; the lowest is the first.
	// Each digest is there once.
	Begin(name image.Name, layers []store.Descriptor)
	// Layer says that the layer whose blob has the digest entered a state.
	Layer(blob store.Digest, state State)
	// Bytes says that n more bytes of the blob have come.
	Bytes(blob store.Digest, n int64)
}

// silent is the Progress of who wants none.
type silent struct{}

func (silent) Begin(image.Name, []store.Descriptor) {}
func (silent) Layer(store.Digest, State)            {}
func (silent) Bytes(store.Digest, int64)            {}
