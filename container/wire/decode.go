package wire

// DecodeStart decodes a Start; msg begins with the type, as in all of these.
func DecodeStart(msg []byte) (*Start, error) {
	d := decoder{rest: msg}
	d.is(TypeStart)
	s := &Start{Flags: Flags(d.u8()), Inputs: d.inputs(), Kept: d.kept(), RunDir: d.str(), LogDir: d.str()}
	s.LogMax = d.u64()
	s.ExitDir, s.Cgroup, s.OOMFile, s.OOMKey = d.str(), d.str(), d.str(), d.str()
	s.StopSignal, s.StopTimeout = d.u8(), d.u32()
	s.Removal = Removal(d.u8())
	for n := d.u16(); n > 0 && !d.bad; n-- {
		s.Remove = append(s.Remove, d.str())
	}
	return s, d.end()
}

// DecodeExec decodes an Exec.
func DecodeExec(msg []byte) (*Exec, error) {
	d := decoder{rest: msg}
	d.is(TypeExec)
	e := &Exec{Flags: Flags(d.u8()), Inputs: d.inputs()}
	return e, d.end()
}

// DecodeAttach decodes an Attach.
func DecodeAttach(msg []byte) (Flags, error) {
	d := decoder{rest: msg}
	d.is(TypeAttach)
	f := Flags(d.u8())
	return f, d.end()
}

// DecodeResize decodes a Resize.
func DecodeResize(msg []byte) (rows, cols uint16, err error) {
	d := decoder{rest: msg}
	d.is(TypeResize)
	rows, cols = d.u16(), d.u16()
	return rows, cols, d.end()
}

// DecodeSignal decodes a Signal.
func DecodeSignal(msg []byte) (signal uint8, interrupt bool, err error) {
	d := decoder{rest: msg}
	d.is(TypeSignal)
	signal, interrupt = d.u8(), d.flag()
	return signal, interrupt, d.end()
}

// DecodeHangup decodes a Hangup: it gives TypeStdout or TypeStderr.
func DecodeHangup(msg []byte) (Type, error) {
	d := decoder{rest: msg}
	d.is(TypeHangup)
	t := Type(d.u8())
	d.bad = d.bad || t != TypeStdout && t != TypeStderr
	return t, d.end()
}

// DecodeKeep decodes a Keep.
func DecodeKeep(msg []byte) ([]Kept, error) {
	d := decoder{rest: msg}
	d.is(TypeKeep)
	list := d.kept()
	return list, d.end()
}

// DecodeKept decodes a Kept.
func DecodeKept(msg []byte) (errno uint32, err error) {
	d := decoder{rest: msg}
	d.is(TypeKept)
	errno = d.u32()
	return errno, d.end()
}

// DecodeStarted decodes a Started.
func DecodeStarted(msg []byte) (Started, error) {
	d := decoder{rest: msg}
	d.is(TypeStarted)
	s := Started{Pid: d.u32(), StartTime: d.u64(), Flags: Flags(d.u8())}
	return s, d.end()
}

// DecodeFailed decodes a Failed.
func DecodeFailed(msg []byte) (Failed, error) {
	d := decoder{rest: msg}
	d.is(TypeFailed)
	f := Failed{Step: d.u32(), Errno: d.u32(), Exec: d.flag(), Doing: d.str()}
	return f, d.end()
}

// DecodeWindow decodes a Window.
func DecodeWindow(msg []byte) (room uint32, err error) {
	d := decoder{rest: msg}
	d.is(TypeWindow)
	room = d.u32()
	return room, d.end()
}

// DecodeClocks decodes Clocks.
func DecodeClocks(msg []byte) ([]uint64, error) {
	d := decoder{rest: msg}
	d.is(TypeClocks)
	began := make([]uint64, 0, len(d.rest)/8)
	for len(d.rest) > 0 && !d.bad {
		began = append(began, d.u64())
	}
	return began, d.end()
}

// DecodeExited decodes an Exited.
func DecodeExited(msg []byte) (Exited, error) {
	d := decoder{rest: msg}
	d.is(TypeExited)
	e := Exited{Status: d.u32(), OOMKilled: d.flag()}
	return e, d.end()
}

// decoder takes fields off a message. After the first one that is not there,
// it gives zeros and end gives ErrMessage.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.rest) {
		d.bad = true
		return make([]byte, min(n, 8)) // a number; strings ask after bad
	}
	field := d.rest[:n]
	d.rest = d.rest[n:]
	return field
}

func (d *decoder) is(t Type)   { d.bad = d.u8() != uint8(t) || d.bad }
func (d *decoder) u8() uint8   { return d.take(1)[0] }
func (d *decoder) u16() uint16 { return le.Uint16(d.take(2)) }
func (d *decoder) u32() uint32 { return le.Uint32(d.take(4)) }
func (d *decoder) u64() uint64 { return le.Uint64(d.take(8)) }

func (d *decoder) flag() bool {
	b := d.u8()
	d.bad = d.bad || b > 1
	return b == 1
}

func (d *decoder) str() string {
	s := d.take(int(d.u16()))
	if d.bad {
		return ""
	}
	return string(s)
}

func (d *decoder) inputs() []Input { return decodeBytes(d, MaxInputs, inputs) }
func (d *decoder) kept() []Kept    { return decodeBytes(d, MaxKept, kepts) }

// decodeBytes gives a list of at most so many bytes that are below end.
func decodeBytes[T ~byte](d *decoder, most int, end T) []T {
	raw := d.take(int(d.u16()))
	if d.bad || len(raw) > most {
		d.bad = true
		return nil
	}
	list := make([]T, len(raw))
	for i, b := range raw {
		d.bad = d.bad || T(b) >= end
		list[i] = T(b)
	}
	return list
}

func (d *decoder) end() error {
	if d.bad || len(d.rest) > 0 {
		return ErrMessage
	}
	return nil
}
