package wire

import "encoding/binary"

var le = binary.LittleEndian

// Append adds a Start in its encoded form to out.
func (s *Start) Append(out []byte) []byte {
	out = append(out, byte(TypeStart), byte(s.Flags))
	out = appendBytes(out, s.Inputs)
	out = appendBytes(out, s.Kept)
	out = appendStr(out, s.RunDir)
	out = appendStr(out, s.LogDir)
	out = le.AppendUint64(out, s.LogMax)
	out = appendStr(out, s.ExitDir)
	out = appendStr(out, s.Cgroup)
	out = appendStr(out, s.OOMFile)
	out = appendStr(out, s.OOMKey)
	out = append(out, s.StopSignal)
	out = le.AppendUint32(out, s.StopTimeout)
	out = append(out, byte(s.Removal))
	out = le.AppendUint16(out, uint16(len(s.Remove)))
	for _, path := range s.Remove {
		out = appendStr(out, path)
	}
	return out
}

// Append adds an Exec in its encoded form to out.
func (e *Exec) Append(out []byte) []byte {
	return appendBytes(append(out, byte(TypeExec), byte(e.Flags)), e.Inputs)
}

// AppendAttach adds an Attach.
func AppendAttach(out []byte, f Flags) []byte {
	return append(out, byte(TypeAttach), byte(f))
}

// AppendResize adds a Resize.
func AppendResize(out []byte, rows, cols uint16) []byte {
	out = le.AppendUint16(append(out, byte(TypeResize)), rows)
	return le.AppendUint16(out, cols)
}

// AppendSignal adds a Signal. An interrupt is one that has to end the process
// if its default action does, even if it is PID 1 and the kernel would not.
func AppendSignal(out []byte, signal uint8, interrupt bool) []byte {
	return append(out, byte(TypeSignal), signal, flag(interrupt))
}

// AppendHangup adds a Hangup.
func AppendHangup(out []byte, output Type) []byte {
	return append(out, byte(TypeHangup), byte(output))
}

// AppendKeep adds a Keep.
func AppendKeep(out []byte, list []Kept) []byte {
	return appendBytes(append(out, byte(TypeKeep)), list)
}

// AppendKept adds a Kept.
func AppendKept(out []byte, errno uint32) []byte {
	return le.AppendUint32(append(out, byte(TypeKept)), errno)
}

// Append adds a Started in its encoded form to out.
func (s *Started) Append(out []byte) []byte {
	out = le.AppendUint32(append(out, byte(TypeStarted)), s.Pid)
	return append(le.AppendUint64(out, s.StartTime), byte(s.Flags))
}

// Append adds a Failed in its encoded form to out.
func (f *Failed) Append(out []byte) []byte {
	out = le.AppendUint32(append(out, byte(TypeFailed)), f.Step)
	out = le.AppendUint32(out, f.Errno)
	return appendStr(append(out, flag(f.Exec)), f.Doing)
}

// AppendWindow adds a Window.
func AppendWindow(out []byte, room uint32) []byte {
	return le.AppendUint32(append(out, byte(TypeWindow)), room)
}

// AppendClocks adds Clocks: as many as a message holds.
func AppendClocks(out []byte, began []uint64) []byte {
	out = append(out, byte(TypeClocks))
	for _, t := range began[:min(len(began), MaxData/8)] {
		out = le.AppendUint64(out, t)
	}
	return out
}

// Append adds an Exited in its encoded form to out.
func (e *Exited) Append(out []byte) []byte {
	out = le.AppendUint32(append(out, byte(TypeExited)), e.Status)
	return append(out, flag(e.OOMKilled))
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func appendBytes[T ~byte](out []byte, list []T) []byte {
	out = le.AppendUint16(out, uint16(len(list)))
	for _, b := range list {
		out = append(out, byte(b))
	}
	return out
}

func appendStr(out []byte, s string) []byte {
	return append(le.AppendUint16(out, uint16(len(s))), s...)
}
