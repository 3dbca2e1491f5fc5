package systemd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestParse(t *testing.T) {
	tests := []struct{ path, want string }{
		{"", "/system.slice/minict-box.scope"},
		{"machine.slice:libpod:abc", "/machine.slice/libpod-abc.scope"},
		{"kubepods-burstable-pod1.slice:cri:abc", "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-abc.scope"},
		{":docker:abc", "/system.slice/docker-abc.scope"},
		{"-.slice::abc", "/abc.scope"},
		{"user.slice::abc", "/user.slice/abc.scope"},
		{"/machine.slice/abc", ""}, {"a:b", ""}, {"a.slice:b:c:d", ""}, {"a.slice:b:", ""},
		{"a:b:c", ""}, {"../a.slice:b:c", ""}, {"a.slice:b:c/d", ""}, {"a.slice:b:../c", ""},
		{"a--b.slice:p:c", ""}, {"-a.slice:p:c", ""}, {"a-.slice:p:c", ""}, {".slice:p:c", ""}, {"a.slice:p:c d", ""},
	}
	for _, tt := range tests {
		s, err := Parse(tt.path, "box")
		if (tt.want == "") != errors.Is(err, ErrPath) || err == nil && s.Group() != tt.want {
			t.Errorf("Parse(%q) = %+v, %v; want %q", tt.path, s, err, tt.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("machine.slice:libpod:abc")
	f.Add("-.slice::..")
	f.Fuzz(func(t *testing.T, path string) {
		s, err := Parse(path, "box")
		if err != nil {
			return
		}
		if g := s.Group(); filepath.Clean(g) != g || !strings.HasSuffix(g, "/"+s.Unit) {
			t.Errorf("%q leads to %q", path, g)
		}
	})
}

func ptr[T any](v T) *T { return &v }

func TestLimits(t *testing.T) {
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: ptr(int64(64 << 20)), Swap: ptr(int64(96 << 20)), Reservation: ptr(int64(-1))},
		CPU:    &specs.LinuxCPU{Shares: ptr(uint64(1024)), Quota: ptr(int64(12345)), Period: ptr(uint64(50000))},
		Pids:   &specs.LinuxPids{Limit: ptr(int64(7))},
	}
	want := map[bool]map[string]uint64{
		true: {"MemoryMax": 64 << 20, "MemoryLow": 1<<64 - 1, "MemorySwapMax": 32 << 20, "CPUWeight": 100,
			"CPUQuotaPeriodUSec": 50000, "CPUQuotaPerSecUSec": 250000, "TasksMax": 7},
		false: {"MemoryLimit": 64 << 20, "CPUShares": 1024, "CPUQuotaPeriodUSec": 50000, "CPUQuotaPerSecUSec": 250000, "TasksMax": 7},
	}
	for v2, want := range want {
		got := make(map[string]uint64)
		for _, p := range Limits(r, v2) {
			got[p.Name] = p.Value.Value().(uint64)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("v2 %v: got %v, want %v", v2, got, want)
		}
	}
	if got := Limits(nil, true); len(got) != 0 {
		t.Errorf("no resources give %v", got)
	}
}

// fake is a systemd that answers as it is told, and notes what it is asked.
type fake struct {
	socket string
	calls  chan *dbus.Message
	// result is how jobs end; refuse is the error that each call gets.
	result, refuse string
}

func startFake(t *testing.T, f *fake) *Manager {
	t.Helper()
	f.socket = filepath.Join(t.TempDir(), "private")
	f.calls = make(chan *dbus.Message, 100)
	l, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- f.serve(l) }()
	m, err := dial(f.socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Close()
		l.Close()
		if err := <-ended; err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return m
}

func (f *fake) serve(l net.Listener) error {
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return err
		}
		answer := "ERROR\r\n"
		switch line = strings.TrimLeft(line, "\x00"); {
		case strings.HasPrefix(line, "AUTH EXTERNAL"):
			answer = "DATA\r\n" // who are you?
		case strings.HasPrefix(line, "DATA"):
			answer = "OK 0123456789abcdef0123456789abcdef\r\n"
		case strings.HasPrefix(line, "AUTH"):
			answer = "REJECTED EXTERNAL\r\n"
		case strings.HasPrefix(line, "NEGOTIATE_UNIX_FD"):
			answer = "AGREE_UNIX_FD\r\n"
		case strings.HasPrefix(line, "BEGIN"):
			return f.answer(in, conn)
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return err
		}
	}
}

func (f *fake) answer(in io.Reader, out io.Writer) error {
	for {
		call, err := dbus.DecodeMessage(in)
		if err != nil {
			return err
		}
		f.calls <- call
		member := call.Headers[dbus.FieldMember].Value().(string)
		job := strings.HasSuffix(member, "Unit") && !strings.HasPrefix(member, "Reset")
		reply := &dbus.Message{Type: dbus.TypeMethodReply, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldReplySerial: dbus.MakeVariant(call.Serial())}}
		list := []*dbus.Message{reply}
		switch path := dbus.ObjectPath("/org/freedesktop/systemd1/job/7"); {
		case f.refuse != "":
			reply.Type = dbus.TypeError
			reply.Headers[dbus.FieldErrorName] = dbus.MakeVariant(f.refuse)
		case job:
			body(reply, path)
			// Another's job ends first; ours perhaps before we know its name.
			list = []*dbus.Message{removed(6, "/org/freedesktop/systemd1/job/6", "failed"), removed(7, path, f.result), reply}
		}
		for i, m := range list {
			var raw bytes.Buffer
			if err := m.EncodeTo(&raw, binary.LittleEndian); err != nil {
				return err
			}
			binary.LittleEndian.PutUint32(raw.Bytes()[8:], call.Serial()*10+uint32(i)) // it may not be 0
			if _, err := raw.WriteTo(out); err != nil {
				return err
			}
		}
	}
}

func removed(id uint32, path dbus.ObjectPath, result string) *dbus.Message {
	m := &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath:      dbus.MakeVariant(object),
		dbus.FieldInterface: dbus.MakeVariant(strings.TrimSuffix(manager, ".")),
		dbus.FieldMember:    dbus.MakeVariant("JobRemoved"),
	}}
	body(m, id, path, "some.scope", result)
	return m
}

func body(m *dbus.Message, values ...any) {
	m.Body = values
	m.Headers[dbus.FieldSignature] = dbus.MakeVariant(dbus.SignatureOf(values...))
}

// next gives the next call that is not about forgetting failures.
func (f *fake) next(t *testing.T) (method string, args []any) {
	t.Helper()
	for {
		select {
		case call := <-f.calls:
			if method = call.Headers[dbus.FieldMember].Value().(string); method != "ResetFailedUnit" {
				return method, call.Body
			}
		default:
			t.Fatal("nothing was asked")
		}
	}
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

const unitExists = "org.freedesktop.systemd1.UnitExists"

var box = Scope{"machine.slice", "minict-box.scope"}

func TestStart(t *testing.T) {
	f := &fake{result: "done"}
	m := startFake(t, f)
	if err := m.Start(soon(t), box, 42, []Property{{"TasksMax", dbus.MakeVariant(uint64(7))}}); err != nil {
		t.Fatal(err)
	}
	method, args := f.next(t)
	if method != "StartTransientUnit" || args[0] != box.Unit || args[1] != "replace" {
		t.Fatalf("asked %s %v", method, args)
	}
	set := make(map[string]any)
	for _, p := range args[2].([][]any) {
		set[p[0].(string)] = p[1].(dbus.Variant).Value()
	}
	for name, want := range map[string]any{"Slice": "machine.slice", "PIDs": []uint32{42}, "Delegate": true, "TasksMax": uint64(7)} {
		if !reflect.DeepEqual(set[name], want) {
			t.Errorf("%s is %v, want %v", name, set[name], want)
		}
	}
}

func TestStartFails(t *testing.T) {
	m := startFake(t, &fake{result: "failed"})
	if err := m.Start(soon(t), box, 42, nil); err == nil || !strings.Contains(err.Error(), "start minict-box.scope: systemd says: failed") {
		t.Errorf("got %v", err)
	}
}

func TestRefused(t *testing.T) {
	m := startFake(t, &fake{refuse: unitExists})
	var refused dbus.Error
	if err := m.Start(soon(t), box, 42, nil); !errors.As(err, &refused) || refused.Name != unitExists {
		t.Errorf("got %v", err)
	}
}

func TestStop(t *testing.T) {
	f := &fake{result: "done"}
	m := startFake(t, f)
	if err := m.Stop(soon(t), box); err != nil {
		t.Fatal(err)
	}
	if method, args := f.next(t); method != "StopUnit" || args[0] != box.Unit {
		t.Errorf("asked %s %v", method, args)
	}
}

func TestStopNothing(t *testing.T) {
	m := startFake(t, &fake{refuse: noSuch})
	if err := m.Stop(soon(t), box); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestLimit(t *testing.T) {
	f := &fake{}
	m := startFake(t, f)
	if err := m.Limit(soon(t), box, []Property{{"MemoryMax", dbus.MakeVariant(uint64(5))}}); err != nil {
		t.Fatal(err)
	}
	if method, args := f.next(t); method != "SetUnitProperties" || args[0] != box.Unit || args[1] != true {
		t.Errorf("asked %s %v", method, args)
	}
}

// A job that never ends is not waited for any longer than the context says.
func TestGivesUp(t *testing.T) {
	m := startFake(t, &fake{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := m.Start(ctx, box, 42, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestNotRunning(t *testing.T) {
	if _, err := dial(filepath.Join(t.TempDir(), "nothing")); err == nil || !strings.Contains(err.Error(), "connect to systemd") {
		t.Errorf("got %v", err)
	}
}
