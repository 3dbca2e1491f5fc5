package attach

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// children gives the processes whose parent this is, as long as they exist.
func children(t *testing.T, pid int) (list []string) {
	t.Helper()
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + strconv.Itoa(pid) + "/children")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

func TestInit(t *testing.T) {
	tests := []struct {
		name string
		p    program
		code int
		out  string
		err  string
	}{
		{"status", program{script: "echo hello; exit 7"}, 7, "hello\n", ""},
		{"killed", program{script: "kill -KILL $$"}, 137, "", ""},
		{"path", program{exec: []string{"sh", "-c", "echo $0", "arg"}}, 0, "arg\n", ""},
		{"missing", program{exec: []string{"/bin/missing"}}, 127, "", "minict: exec failed: /bin/missing\n"},
		{"missing in path", program{exec: []string{"missing"}}, 127, "", "minict: exec failed: missing\n"},
		{"not executable", program{exec: []string{"/etc/passwd"}}, 126, "", "minict: exec failed: /etc/passwd: permission denied\n"},
		{"directory", program{exec: []string{"/etc"}}, 126, "", "minict: exec failed: /etc: permission denied\n"},
		{"first of its namespace", program{script: "echo $$ $PPID"}, 0, "2 1\n", ""},
		{"signals", program{script: "while read a b; do case $a in SigB*|SigI*) echo $a $b; esac; done </proc/self/status"}, 0, "SigBlk: 0000000000000000\nSigIgn: 0000000000000000\n", ""},
		{"descriptors", program{exec: []string{"/bin/ls", "/proc/self/fd"}}, 0, "0\n1\n2\n3\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.p.init, tt.p.flags = true, unix.CLONE_NEWPID
			h := newHost(t)
			o := h.foreground(tt.p, Container{}, nil)
			equal(t, "code", o.Code, tt.code)
			if tt.name == "first of its namespace" && o.out != tt.out {
				// The runtime's threads take numbers too.
				var pid, parent int
				fields := strings.Fields(o.out)
				pid, _ = strconv.Atoi(fields[0])
				parent, _ = strconv.Atoi(fields[1])
				if pid < 2 || parent != 1 {
					t.Errorf("got %q", o.out)
				}
				return
			}
			equal(t, "stdout", o.out, tt.out)
			equal(t, "stderr", o.err, tt.err)
		})
	}
}

// Signals are passed on, and the zombies that others left are reaped.
func TestInitForwardsAndReaps(t *testing.T) {
	h := newHost(t)
	script := `trap 'exit 9' TERM; trap 'echo usr1' USR1
		i=0; while [ $i -lt 20 ]; do (sh -c 'exit 0' & exec sh -c 'exit 0') & i=$((i+1)); done
		wait; (sh -c 'sh -c "sleep 0.1" & exit 0'); sleep 0.3; echo up; while :; do sleep 0.01; done`
	s := h.mustStart(program{script: script, init: true, flags: unix.CLONE_NEWPID}, Container{Process: Process{Output: true}})
	if msg, err := s.receive(); err != nil || string(msg[1:]) != "up\n" {
		t.Fatalf("got %q, %v", msg, err)
	}
	if list := children(t, s.Pid); len(list) != 1 {
		t.Errorf("children of init: %v", list)
	}
	s.Signal(unix.SIGUSR1)
	if msg, err := s.receive(); err != nil || string(msg[1:]) != "usr1\n" {
		t.Fatalf("got %q, %v", msg, err)
	}
	s.Interrupt(unix.SIGTERM)
	exit, err := s.Relay(context.Background(), Streams{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "code", exit.Code, 9)
}

// With a terminal the command is its foreground group: it may read, and gets
// the keyboard's signals.
func TestInitTerminal(t *testing.T) {
	h := newHost(t)
	c := Container{Process: Process{Output: true, Stdin: true}}
	p := program{script: "trap 'echo int; exit 6' INT; read a; echo read $a; while :; do sleep 0.01; done", terminal: true, init: true, flags: unix.CLONE_NEWPID}
	s := h.mustStart(p, c)
	in, w := mustPipe(t)
	out, outW := mustPipe(t)
	w.WriteString("line\n")
	go func() {
		var b [1000]byte
		var text string
		for !strings.Contains(text, "read line\r\n") {
			n, err := out.Read(b[:])
			if err != nil {
				return
			}
			text += string(b[:n])
		}
		w.WriteString("\x03")
	}()
	exit, err := s.Relay(context.Background(), Streams{In: in, Out: outW})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "code", exit.Code, 6)
}
