package netlink

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is written is read the same.
func TestAttributes(t *testing.T) {
	var r Request
	r.Begin(unix.RTM_NEWLINK, 0, []byte{1, 2, 3, 4})
	r.Text(1, "a")
	r.Nest(2, func() {
		r.Word(3, 7)
		r.Big(4, 8)
	})
	body := r.buf[unix.SizeofNlMsghdr+4:]
	if got := String(Find(body, 1)); got != "a" {
		t.Errorf("text %q", got)
	}
	inner := Find(body, 2)
	if GetWord(Find(inner, 3)) != 7 || GetBig(Find(inner, 4)) != 8 || Find(inner, 5) != nil {
		t.Errorf("nested %x", inner)
	}
}

// Of several messages the kernel does all, and tells of the first that it
// refuses; the next request is not confused by what it said to that one.
func TestSeveralMessages(t *testing.T) {
	s, err := Open(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	get := func(r *Request, index uint32) {
		r.Begin(unix.RTM_GETLINK, 0, append(make([]byte, 4), append(Word(index), make([]byte, 8)...)...))
	}
	lo, err := s.Index("lo")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		r := &Request{}
		get(r, uint32(lo))
		get(r, 1<<30)
		get(r, 1<<30)
		get(r, uint32(lo))
		var answers int
		err := s.Do(r, func(kind uint16, _ []byte) { answers++ })
		var refused *Error
		if !errors.As(err, &refused) || refused.Index != 1 || !errors.Is(err, unix.ENODEV) || answers != 2 {
			t.Errorf("%d answers, error %v", answers, err)
		}
	}
	if _, err := s.Index("there-is-none"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("look for no interface: %v", err)
	}
	if err := s.Do(&Request{}, nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

// A list that was changed while it was made is asked for again, and nothing of
// the first one is told.
func TestChangedList(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	kernel, s := pair[1], &Socket{fd: pair[0], buf: make([]byte, answerSize)}
	defer unix.Close(kernel)
	defer s.Close()
	go func() {
		for try := range 3 {
			request := make([]byte, 256)
			if n, _, err := unix.Recvfrom(kernel, request, 0); err != nil || n == 0 {
				return
			}
			var flags uint16
			if try < 2 {
				flags = unix.NLM_F_DUMP_INTR
			}
			var list []byte
			for _, kind := range []uint16{uint16(100 + try), unix.NLMSG_DONE} {
				m := make([]byte, unix.SizeofNlMsghdr+4)
				put32(m, uint32(len(m)))
				put16(m[4:], kind)
				put16(m[6:], flags)
				copy(m[8:12], request[8:12]) // the number of the request
				list = append(list, m...)
			}
			unix.Sendto(kernel, list, 0, nil)
		}
	}()
	var got []uint16
	r := &Request{}
	r.Begin(unix.RTM_GETLINK, unix.NLM_F_DUMP, Link(0, 0, 0))
	err = s.Do(r, func(kind uint16, _ []byte) { got = append(got, kind) })
	if err != nil || len(got) != 1 || got[0] != 102 {
		t.Errorf("got %d, %v, want what came the third time", got, err)
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add([]byte{5, 0, 1, 0, 'a', 0, 0, 0, 4, 0, 2, 0})
	f.Add([]byte{3, 0, 1, 0})
	f.Add([]byte{255, 255, 1, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for kind, data := range Attributes(b) {
			if total += 4 + len(data); kind&(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) != 0 {
				t.Errorf("kind %x", kind)
			}
		}
		if total > len(b) {
			t.Errorf("%d bytes of %d", total, len(b))
		}
		String(b)
		GetBig(b)
		GetWord(b)
	})
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte{16, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
	f.Add(bytes.Repeat([]byte{255}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		total := 0
		for _, body := range messages(b) {
			total += unix.SizeofNlMsghdr + len(body)
		}
		if total > len(b) {
			t.Errorf("%d bytes of %d", total, len(b))
		}
	})
}

// A socket that was left is closed soon, and no descriptor stays.
func TestLeave(t *testing.T) {
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	before := descriptors()
	s, err := Open(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	r := &Request{}
	r.Begin(unix.RTM_GETLINK, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfInfomsg))
	if err := s.Do(r, nil); err != nil { // from now on it has an address, and is listed
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(s.fd, &st); err != nil {
		t.Fatal(err)
	}
	there := func() bool {
		raw, err := os.ReadFile("/proc/net/netlink")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(raw)) {
			if fields := strings.Fields(line); fields[len(fields)-1] == strconv.FormatUint(st.Ino, 10) {
				return true
			}
		}
		return false
	}
	if !there() {
		t.Fatal("it is not in the kernel's list")
	}
	if err := s.Leave(); err != nil {
		t.Error(err)
	}
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors, and %d before", after, before)
	}
	for end := time.Now().Add(10 * time.Second); there(); {
		if time.Now().After(end) {
			t.Fatal("it is still there")
		}
	}
}
