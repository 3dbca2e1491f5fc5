package container

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"minict/internal/randomid"
)

// The budget of a list of 1,000 containers is 20 ms, with the start of the
// program.
func BenchmarkList1000(b *testing.B) {
	top := b.TempDir()
	m := &Manager{Root: filepath.Join(top, "root"), State: filepath.Join(top, "state")}
	if err := m.layOut(); err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		id := randomid.New()
		c := &Config{
			ID: id, Name: fmt.Sprintf("web%d", i), Created: time.Now(), Image: "nginx", Args: []string{"nginx", "-g", "daemon off;"},
			Labels: map[string]string{"a": "b"}, Env: []string{"PATH=/bin", "NGINX_VERSION=1.27.0"}, Hostname: shortID(id), Network: NetworkNone,
			Layers: nil, Mounts: []Mount{{Type: MountVolume, Source: randomid.New(), Target: "/data", Anonymous: true}},
		}
		if err := os.MkdirAll(m.durableDir(id), 0o700); err != nil {
			b.Fatal(err)
		}
		raw, err := encodeConfig(c)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(m.durableConfig(id), raw, 0o600); err != nil {
			b.Fatal(err)
		}
		if i%2 == 0 { // half of them run
			claim, err := m.claim(b.Context(), id)
			if err != nil {
				b.Fatal(err)
			}
			defer claim.pass()
			state := `{"pid":1,"startTime":1,"monitor":2,"started":"2026-11-23T17:00:00Z"}`
			if err := os.WriteFile(filepath.Join(m.runDir(id), "state"), []byte(state), 0o600); err != nil {
				b.Fatal(err)
			}
		} else if err := os.WriteFile(m.exitPath(id), []byte(`{"status":0,"finished":"2026-11-23T17:00:00Z"}`), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		list, err := m.List(b.Context(), true)
		if err != nil || len(list) != 1000 {
			b.Fatal(len(list), err)
		}
	}
}
