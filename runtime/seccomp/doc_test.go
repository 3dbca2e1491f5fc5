package seccomp

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// listing writes a program down, jumps by their targets.
func listing(prog []unix.SockFilter) string {
	var b strings.Builder
	for pc, in := range prog {
		fmt.Fprintf(&b, "%3d  ", pc)
		yes, no := pc+1+int(in.Jt), pc+1+int(in.Jf)
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			fmt.Fprintf(&b, "load word at %d", in.K)
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			fmt.Fprintf(&b, "and %#x", in.K)
		case unix.BPF_RET | unix.BPF_K:
			fmt.Fprintf(&b, "return %#x", in.K)
		case unix.BPF_JMP | unix.BPF_JA:
			fmt.Fprintf(&b, "go to %d", pc+1+int(in.K))
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			fmt.Fprintf(&b, "if == %#x go to %d, else %d", in.K, yes, no)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			fmt.Fprintf(&b, "if >= %#x go to %d, else %d", in.K, yes, no)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// The page for learners shows a profile and its filter; they must be true.
func TestPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "seccomp.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	profile, _, _ := strings.Cut(rest, "```")
	var p specs.LinuxSeccomp
	if err := json.Unmarshal([]byte(profile), &p); err != nil {
		t.Fatal(err)
	}
	prog, _, err := Compile(&p, "amd64")
	if err != nil {
		t.Fatal(err)
	}
	// The page adds remarks behind the instructions.
	_, rest, _ = strings.Cut(rest, "```text\n")
	shown, _, _ := strings.Cut(rest, "```")
	var bare strings.Builder
	for line := range strings.Lines(shown) {
		instruction, _, _ := strings.Cut(line, "  ; ")
		bare.WriteString(strings.TrimRight(instruction, " \n") + "\n")
	}
	if bare.String() != listing(prog) {
		t.Errorf("docs/seccomp.md shows\n%sbut the filter is\n%s", bare.String(), listing(prog))
	}
}
