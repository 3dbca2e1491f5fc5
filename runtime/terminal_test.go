package runtime

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// receive takes the descriptor that a container sends over its console socket.
func receive(t *testing.T, socket int) *os.File {
	t.Helper()
	buf, oob := make([]byte, 16), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	return os.NewFile(uintptr(fds[0]), "master")
}

// screen reads a terminal to its end, which is EIO.
func screen(f *os.File) string {
	var all []byte
	buf := make([]byte, 4096)
	for {
		n, err := f.Read(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			return strings.ReplaceAll(string(all), "\r\n", "\n")
		}
	}
}

func consoleSocket(t *testing.T) (ours, theirs int) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[0]); unix.Close(pair[1]) })
	return pair[0], pair[1]
}

func TestTerminal(t *testing.T) {
	spec := ordinary(bundle(t), `tty; stty size; stat -c %t:%T /dev/console $(tty); ps -o pid,tty | head -2 | tail -1; ls -1 /dev/pts; echo to console >/dev/console`)
	spec.Process.Terminal = true
	spec.Process.ConsoleSize = &specs.Box{Height: 30, Width: 100}
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(spec, host, Options{})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := consoleSocket(t)
	got := make(chan string)
	go func() { got <- screen(receive(t, ours)) }()
	if _, err := launchPlan(t, p, map[string]int{InputConsole: theirs}); err != nil {
		t.Fatal(err)
	}
	want := "/dev/pts/0\n30 100\n88:0\n88:0\n    1 136,0\n0\nptmx\nto console\n"
	if text := <-got; text != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

func TestTerminalNeedsDevpts(t *testing.T) {
	spec := ordinary("/", "true")
	spec.Process.Terminal = true
	spec.Mounts = nil
	if _, err := Compile(spec, Host{LastCap: 40}, Options{}); err == nil {
		t.Error("a terminal without a devpts was accepted")
	}
}

// With the host's /dev bound the terminal is one of the host's; what is bound
// instead of a devpts is not taken for one.
func TestTerminalOfBoundDev(t *testing.T) {
	fake := t.TempDir()
	if err := os.MkdirAll(fake+"/pts", 0o755); err != nil {
		t.Fatal(err)
	}
	host, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{"/dev": "/dev/pts/", fake: ""} {
		spec := ordinary(bundle(t), "tty")
		spec.Process.Terminal = true
		spec.Mounts = []specs.Mount{spec.Mounts[0], {Destination: "/dev", Source: source, Options: []string{"rbind", "rslave"}}}
		p, err := Compile(spec, host, Options{})
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := consoleSocket(t)
		got := make(chan string, 1)
		if want != "" {
			go func() { got <- screen(receive(t, ours)) }()
		} else {
			got <- ""
		}
		_, err = launchPlan(t, p, map[string]int{InputConsole: theirs})
		if text := <-got; (err == nil) != (want != "") || !strings.HasPrefix(text, want) {
			t.Errorf("%s: got %q, %v", source, text, err)
		}
		if want == "" && !errors.Is(err, unix.ENOTTY) {
			t.Errorf("%s: got %v", source, err)
		}
	}
}
