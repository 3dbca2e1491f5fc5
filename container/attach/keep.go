package attach

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"minict/container/wire"
	"minict/network/resolver"
)

// Keep gives a running container's monitor more to keep until the container has
// ended: files that are only to be open, and the sockets of a name server (package
// network/resolver), with which it serves the container from now on. They stay the
// caller's to close. If it has a name server already, the error is EEXIST;
// otherwise errors are as Exec's.
func Keep(runDir string, held []*os.File, sockets *resolver.Sockets) error {
	s, err := dial(runDir)
	if err != nil {
		return err
	}
	defer s.Close()
	kept, fds := toKeep(held, sockets)
	if len(kept) > wire.MaxKept {
		return fmt.Errorf("keep: %d descriptors are too many", len(kept))
	}
	if err := s.sendWith(wire.AppendKeep(nil, kept), nil, fds); err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	msg, err := s.receive()
	if err != nil {
		return err
	}
	errno, err := wire.DecodeKept(msg)
	if err != nil {
		return err
	}
	if errno != 0 {
		return fmt.Errorf("keep: %w", unix.Errno(errno))
	}
	return nil
}

func toKeep(held []*os.File, sockets *resolver.Sockets) (kept []wire.Kept, fds []int) {
	if sockets != nil {
		kept = append(kept, wire.KeptPackets, wire.KeptStreams)
		fds = append(fds, sockets.Packets, sockets.Streams)
	}
	for _, f := range held {
		kept = append(kept, wire.KeptOpen)
		fds = append(fds, int(f.Fd()))
	}
	return kept, fds
}
