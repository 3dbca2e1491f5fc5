package attach

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"time"
)

func TestZZ(t *testing.T) {
	h := newHost(t)
	s := h.mustStart(program{exec: []string{"/bin/sleep", "1000"}}, Container{LogDir: h.data})
	s.Close()
	for _, d := range []int{500, 1000, 1000, 2000} {
		time.Sleep(time.Duration(d) * time.Millisecond)
		f, _ := os.Open(fmt.Sprintf("/proc/%d/pagemap", h.monitor.pid))
		buf := make([]byte, 8*0x190)
		f.ReadAt(buf, 8*0x400)
		for w := 0; w < 0x190; w += 16 {
			n := 0
			for i := w; i < w+16; i++ {
				if binary.LittleEndian.Uint64(buf[8*i:])>>63 == 1 {
					n++
				}
			}
			fmt.Printf("%x:%d ", 0x400+w, n)
		}
		fmt.Println(memory(t, h.monitor.pid))
	}
}
