package wire

import (
	"bytes"
	"errors"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	startMsg = Start{
		Flags: FlagTerminal | FlagTimed, Inputs: []Input{InputSent, InputStdin, InputConsole}, Kept: []Kept{KeptOpen, KeptStreams},
		RunDir: "/run/x", LogDir: "/log", LogMax: 1 << 40, ExitDir: "/exit", Cgroup: "/cg",
		OOMFile: "/oom", OOMKey: "oom_kill", StopSignal: 15, StopTimeout: 10000,
		Removal: RemoveAtEnd, Remove: []string{"/a", "", "/b"},
	}
	execMsg    = Exec{Flags: FlagStdin, Inputs: []Input{InputStderr}}
	startedMsg = Started{Pid: 7, StartTime: 1 << 40, Flags: FlagStdin}
	failedMsg  = Failed{Step: NoStep, Errno: 2, Exec: true, Doing: "listen"}
	exitedMsg  = Exited{Status: 0x8b, OOMKilled: true}
)

// samples are one message of each type.
func samples() map[string][]byte {
	return map[string][]byte{
		"Descriptors": {byte(TypeDescriptors)},
		"Start":       startMsg.Append(nil),
		"Exec":        execMsg.Append(nil),
		"Attach":      AppendAttach(nil, FlagOutput),
		"Stdin":       append([]byte{byte(TypeStdin)}, "data"...),
		"StdinEOF":    {byte(TypeStdinEOF)},
		"Resize":      AppendResize(nil, 24, 80),
		"Signal":      AppendSignal(nil, 15, true),
		"Hangup":      AppendHangup(nil, TypeStderr),
		"Keep":        AppendKeep(nil, []Kept{KeptPackets}),
		"Started":     startedMsg.Append(nil),
		"Failed":      failedMsg.Append(nil),
		"Stdout":      append([]byte{byte(TypeStdout)}, "data"...),
		"Stderr":      {byte(TypeStderr)},
		"Window":      AppendWindow(nil, 100),
		"Clocks":      AppendClocks(nil, []uint64{1, 2, 3}),
		"Exited":      exitedMsg.Append(nil),
		"Kept":        AppendKept(nil, 98),
	}
}

func TestRoundTrip(t *testing.T) {
	s := samples()
	check := func(what string, got any, err error, want any) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", what, got, err)
		}
	}
	start, err := DecodeStart(s["Start"])
	check("Start", start, err, &startMsg)
	exec, err := DecodeExec(s["Exec"])
	check("Exec", exec, err, &execMsg)
	flags, err := DecodeAttach(s["Attach"])
	check("Attach", flags, err, FlagOutput)
	rows, cols, err := DecodeResize(s["Resize"])
	check("Resize", [2]uint16{rows, cols}, err, [2]uint16{24, 80})
	signal, interrupt, err := DecodeSignal(s["Signal"])
	check("Signal", signal, err, uint8(15))
	check("Signal", interrupt, err, true)
	output, err := DecodeHangup(s["Hangup"])
	check("Hangup", output, err, TypeStderr)
	kept, err := DecodeKeep(s["Keep"])
	check("Keep", kept, err, []Kept{KeptPackets})
	errno, err := DecodeKept(s["Kept"])
	check("Kept", errno, err, uint32(98))
	started, err := DecodeStarted(s["Started"])
	check("Started", started, err, startedMsg)
	failed, err := DecodeFailed(s["Failed"])
	check("Failed", failed, err, failedMsg)
	room, err := DecodeWindow(s["Window"])
	check("Window", room, err, uint32(100))
	clocks, err := DecodeClocks(s["Clocks"])
	check("Clocks", clocks, err, []uint64{1, 2, 3})
	exited, err := DecodeExited(s["Exited"])
	check("Exited", exited, err, exitedMsg)
}

// decodeAll tries every decoder.
func decodeAll(msg []byte) (errs []error) {
	add := func(_ any, err error) { errs = append(errs, err) }
	add(DecodeStart(msg))
	add(DecodeExec(msg))
	add(DecodeAttach(msg))
	_, _, err := DecodeResize(msg)
	add(nil, err)
	_, _, err = DecodeSignal(msg)
	add(nil, err)
	add(DecodeHangup(msg))
	add(DecodeKeep(msg))
	add(DecodeKept(msg))
	add(DecodeStarted(msg))
	add(DecodeFailed(msg))
	add(DecodeWindow(msg))
	add(DecodeClocks(msg))
	add(DecodeExited(msg))
	return errs
}

// A message that is cut or continued is none, nor is one of another type.
func TestForeignBytes(t *testing.T) {
	for name, msg := range samples() {
		for n := range msg {
			if name == "Clocks" && n%8 == 1 {
				continue
			}
			for _, err := range decodeAll(msg[:n]) {
				if !errors.Is(err, ErrMessage) {
					t.Errorf("%s cut to %d bytes: %v", name, n, err)
				}
			}
		}
		accepted := 0
		for _, err := range decodeAll(msg) {
			if err == nil {
				accepted++
			}
		}
		if accepted > 1 {
			t.Errorf("%s was taken for %d types", name, accepted)
		}
		for _, err := range decodeAll(append(bytes.Clone(msg), 0)) {
			if err == nil {
				t.Errorf("%s with a byte too many was accepted", name)
			}
		}
	}
	if _, err := DecodeExec([]byte("\x03\x00\x01\x00\x09")); err == nil {
		t.Error("unknown kind of input")
	}
	if _, err := DecodeKeep([]byte("\x0a\x01\x00\x03")); err == nil {
		t.Error("unknown kind of what is kept")
	}
	if _, err := DecodeHangup([]byte{byte(TypeHangup), byte(TypeExited)}); err == nil {
		t.Error("hangup of what is no output")
	}
}

func FuzzDecode(f *testing.F) {
	for _, msg := range samples() {
		f.Add(msg)
	}
	f.Fuzz(func(t *testing.T, msg []byte) {
		decodeAll(msg)
		if s, err := DecodeStart(msg); err == nil && !bytes.Equal(s.Append(nil), msg) {
			t.Errorf("%q encodes as %q", msg, s.Append(nil))
		}
	})
}

// The drawing in the package comment says what the messages are.
func TestDrawing(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "wire.go", nil, parser.ParseComments|parser.PackageClauseOnly)
	if err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile(`\n\t {6,}`).ReplaceAllString(file.Doc.Text(), " ") // continued lines
	lines := regexp.MustCompile(`(?m)^\t +(\d+) (\w+) *(.*)$`).FindAllStringSubmatch(text, -1)
	all := samples()
	for _, line := range lines {
		number, name, fields := line[1], line[2], line[3]
		msg, ok := all[name]
		if !ok {
			t.Errorf("%s is drawn, but there is no such message", name)
			continue
		}
		delete(all, name)
		if strconv.Itoa(int(msg[0])) != number {
			t.Errorf("%s is drawn as %s, but is %d", name, number, msg[0])
		}
		fields, _, _ = strings.Cut(fields, "(")
		if rest, ok := walk(msg[1:], fields); !ok || len(rest) > 0 {
			t.Errorf("%s: %q has not the fields %q", name, msg, fields)
		}
	}
	for name := range all {
		t.Errorf("%s is not drawn", name)
	}
}

// walk takes the fields of a drawing off a message.
func walk(msg []byte, fields string) (rest []byte, ok bool) {
	for _, field := range strings.Split(fields, ",") {
		kind, _, _ := strings.Cut(strings.TrimSpace(field), " ")
		if strings.HasSuffix(strings.TrimSpace(field), "as str") {
			kind = "str"
		}
		n := 0
		switch kind {
		case "":
			continue
		case "bytes":
			n = len(msg)
		case "u64s":
			n = len(msg) / 8 * 8
		case "str", "strs":
			if len(msg) < 2 {
				return msg, false
			}
			n = 2 + int(le.Uint16(msg))
			if kind == "strs" {
				count := int(le.Uint16(msg))
				msg = msg[2:]
				for range count {
					if msg, ok = walk(msg, "str"); !ok {
						return msg, false
					}
				}
				continue
			}
		default:
			bits, err := strconv.Atoi(strings.TrimPrefix(kind, "u"))
			if err != nil {
				return msg, false
			}
			n = bits / 8
		}
		if n > len(msg) {
			return msg, false
		}
		msg = msg[n:]
	}
	return msg, true
}

func TestSocket(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[1])
	fds := make([]int, MaxDescriptors)
	for i := range fds {
		fds[i] = ends[0]
	}
	var r Receiver
	big := bytes.Repeat([]byte("x"), MaxMessage)
	if err := Send(ends[0], big, fds...); err != nil {
		t.Fatal(err)
	}
	msg, got, err := r.Receive(ends[1])
	if err != nil || !bytes.Equal(msg, big) || len(got) != len(fds) {
		t.Fatalf("got %d bytes, %d descriptors, %v", len(msg), len(got), err)
	}
	if flags, err := unix.FcntlInt(uintptr(got[0]), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %x, %v", flags, err)
	}
	CloseAll(got)
	if err := Send(ends[0], append(big, 'x'), ends[0]); err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Receive(ends[1]); !errors.Is(err, ErrMessage) {
		t.Errorf("a message too long: %v", err)
	}
	unix.Close(ends[0])
	if msg, _, err := r.Receive(ends[1]); len(msg) > 0 || err != nil {
		t.Errorf("at the end: %q, %v", msg, err)
	}
	if err := Send(ends[1], []byte("x")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("send to nobody: %v", err)
	}
}

// What is passed on all the time costs no memory.
func TestReceiveAllocatesNothing(t *testing.T) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	r := new(Receiver)
	data := make([]byte, 1000)
	allocs := testing.AllocsPerRun(100, func() {
		if Send(ends[0], data) != nil {
			t.Fatal("send")
		}
		if _, _, err := r.Receive(ends[1]); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}
