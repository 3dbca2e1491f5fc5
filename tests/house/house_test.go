// Package house holds the module to the plan of its house: which room may
// import which, and which library lives behind which room.
package house

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms says what a folder may import of minict, beside itself and what is
// below it. The longest folder that fits counts. What is not here has no room.
var rooms = map[string][]string{
	"internal":           {},
	"store":              {"internal"},
	"overlay":            {"internal"},
	"network":            {"internal"},
	"runtime":            {"internal"},
	"runtime/oci":        {"runtime", "internal"},
	"image":              {"store", "overlay", "internal"},
	"container":          {"store", "overlay", "network", "runtime", "internal"},
	"container/embed":    {},                                                                                                      // the monitor's program
	"container/wire":     {},                                                                                                      // what the command and its monitor say to each other: both speak it
	"container/monitor":  {"container/wire", "network/release", "network/resolver", "runtime/plan", "runtime/launch", "internal"}, // it undoes what a container's end leaves, and answers it
	"cmd/minict":         {"container", "image", "store", "overlay", "network", "runtime", "internal"},
	"cmd/minict/oci":     {"runtime", "internal"}, // engines use the runtime, and know nothing else of minict
	"cmd/minict-monitor": {"container/monitor", "network/release", "network/resolver", "runtime/plan", "runtime/launch", "internal"},
	"tests":              {}, // they use the binary, from outside
}

// libraries says in which rooms a heavy library may be imported.
var libraries = map[string][]string{
	"github.com/spf13/cobra":                 {"cmd/minict"},
	"github.com/google/go-containerregistry": {"image", "tests"},
	"go.etcd.io/bbolt":                       {"store"},
	"github.com/vishvananda/netlink":         {"network", "tests"},
	"github.com/google/nftables":             {"network", "tests"},
	"github.com/elastic/go-seccomp-bpf":      {"runtime/seccomp", "container"},
	"github.com/godbus/dbus/v5":              {"runtime/systemd"},
	"github.com/moby/profiles":               {"runtime/seccomp", "container"},
	"github.com/miekg/dns":                   {"network/resolver", "tests"}, // the other side in the resolver's tests
	"github.com/checkpoint-restore/go-criu":  {"runtime/criu", "tests"},     // for tests: its start takes too long
}

// unreachable says what must not be among the dependencies of a package,
// however far: the monitor has to stay small, and the path on which a
// container starts short. Of cmd/minict the program is meant that is built
// with the tag split.
var unreachable = map[string][]string{
	"cmd/minict-monitor": {"fmt", "encoding/json", "net", "os/exec"},
	"cmd/minict":         {"net/http", "go.yaml.in/yaml/v3", "github.com/opencontainers/go-digest", "google.golang.org/protobuf/proto"},
	"network":            {"net/http", "text/template", "regexp", "os/exec"},
	"network/release":    {"fmt", "os", "net", "encoding/json"},              // the monitor calls it
	"network/resolver":   {"fmt", "os", "net", "net/netip", "encoding/json"}, // the monitor runs it
	"store":              {"net/http", "text/template", "regexp"},
	"overlay":            {"net/http", "text/template", "regexp"},
	"runtime":            {"net/http", "text/template", "regexp"},
	"container":          {"net/http", "text/template", "regexp"},
	"cmd/minict/oci":     {"net/http", "text/template", "regexp", "github.com/spf13/pflag"},
}

const module = "minict"

type pkg struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestImportsKeepToTheTable(t *testing.T) {
	for _, p := range list(t, "./...") {
		here := strings.TrimPrefix(p.ImportPath, module+"/")
		if _, known := roomOf(here); !known {
			t.Errorf("%s has no room: give it a row in the table, with a reason", here)
			continue
		}
		for _, imported := range p.Imports {
			if why := broken(here, imported); why != "" {
				t.Errorf("%s → %s: %s", here, imported, why)
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if strings.HasPrefix(imported, module+"/tests/") {
				continue // what is made for tests is for all tests
			}
			if why := broken(here, imported); why != "" {
				t.Errorf("test of %s → %s: %s", here, imported, why)
			}
		}
	}
}

func TestHeavyThingsStayOutOfReach(t *testing.T) {
	for folder, heavy := range unreachable {
		graph := map[string][]string{}
		for _, p := range list(t, "-deps", "-tags", "split", "./"+folder) {
			graph[p.ImportPath] = p.Imports
		}
		if len(graph[module+"/"+folder]) == 0 {
			t.Errorf("%s imports nothing: is it there?", folder)
		}
		for _, target := range heavy {
			if path := pathTo(graph, module+"/"+folder, target); path != nil {
				t.Errorf("%s", strings.Join(path, " → "))
			}
		}
	}
}

// broken says why the package in folder must not import what, or "".
func broken(folder, imported string) string {
	room, _ := roomOf(folder)
	if inner, ours := strings.CutPrefix(imported, module+"/"); ours {
		owner, _ := roomOf(inner)
		// A folder that has a row of its own inside a room is part of it.
		if within(owner, room) || slices.ContainsFunc(rooms[room], func(may string) bool { return within(inner, may) }) {
			return ""
		}
		return fmt.Sprintf("%s may import of %s only %q", room, module, rooms[room])
	}
	for library, places := range libraries {
		if within(imported, library) && !slices.ContainsFunc(places, func(place string) bool { return within(folder, place) }) {
			return fmt.Sprintf("%s is for %q only", library, places)
		}
	}
	return ""
}

func roomOf(folder string) (room string, known bool) {
	for candidate := range rooms {
		if within(folder, candidate) && len(candidate) > len(room) {
			room, known = candidate, true
		}
	}
	return room, known
}

func within(path, top string) bool {
	return path == top || strings.HasPrefix(path, top+"/")
}

// pathTo finds the shortest chain of imports from one package to another.
func pathTo(graph map[string][]string, from, to string) []string {
	seen := map[string]bool{from: true}
	for paths := [][]string{{from}}; len(paths) > 0; paths = paths[1:] {
		path := paths[0]
		last := path[len(path)-1]
		if last == to {
			return path
		}
		for _, next := range graph[last] {
			if !seen[next] {
				seen[next] = true
				paths = append(paths, append(slices.Clone(path), next))
			}
		}
	}
	return nil
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-e", "-json=ImportPath,Standard,Imports,TestImports,XTestImports"}, args...)...)
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%s", exit.Stderr)
		}
		t.Fatal(err)
	}
	var found []pkg
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		found = append(found, p)
	}
	if len(found) == 0 {
		t.Fatalf("go list %q lists nothing", args)
	}
	return found
}

// The table itself is tried on imports that break it and on some that do not.
func TestTheTableCatches(t *testing.T) {
	for _, c := range []struct {
		folder, imported string
		ok               bool
	}{
		{"store", "minict/internal/flock", true},
		{"store", "minict/overlay", false},
		{"runtime", "minict/runtime/plan", true},
		{"runtime", "minict/store", false},
		{"container", "minict/image", false},
		{"container", "minict/container/monitor", true},
		{"container/monitor", "minict/runtime/launch", true},
		{"container/monitor", "minict/runtime", false},
		{"container/monitor", "minict/container", false},
		{"image", "minict/container", false},
		{"tests", "minict/store", false},
		{"runtime/oci", "minict/runtime/launch", true},
		{"runtime/oci", "minict/container", false},
		{"cmd/minict", "minict/cmd/minict/oci", true},
		{"cmd/minict/oci", "minict/runtime/oci", true},
		{"cmd/minict/oci", "minict/container", false},
		{"container", "github.com/google/go-containerregistry/pkg/name", false},
		{"image", "github.com/google/go-containerregistry/pkg/name", true},
		{"container", "github.com/spf13/cobra", false},
		{"store", "go.etcd.io/bbolt", true},
		{"cmd/minict", "go.etcd.io/bbolt", false},
		{"network", "github.com/vishvananda/netlink", true},
		{"runtime", "github.com/vishvananda/netlink/nl", false},
		{"runtime/seccomp", "github.com/elastic/go-seccomp-bpf", true},
		{"runtime/cgroup", "github.com/elastic/go-seccomp-bpf", false},
		{"image/layer", "minict/image", true},
		{"image", "minict/image/layer", true},
	} {
		if got := broken(c.folder, c.imported) == ""; got != c.ok {
			t.Errorf("%s → %s: allowed %v, want %v", c.folder, c.imported, got, c.ok)
		}
	}
	graph := map[string][]string{"a": {"b", "c"}, "b": {"d"}, "c": {"fmt"}, "d": {"c"}}
	if path := pathTo(graph, "a", "fmt"); !slices.Equal(path, []string{"a", "c", "fmt"}) {
		t.Errorf("path %q", path)
	}
}
