package resolver

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// Whatever a container sends, it is read as another implementation reads it, and
// what is answered is an answer to it.
func FuzzQuery(f *testing.F) {
	for _, m := range []*dns.Msg{question(dns.TypeA, "db."), question(dns.TypePTR, "3.0.2.10.in-addr.arpa."), question(dns.TypeANY, ".")} {
		raw, _ := m.Pack()
		f.Add(raw)
		m.SetEdns0(1232, true)
		raw, _ = m.Pack()
		f.Add(raw)
	}
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x01x\xc0\x0c\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > 4096 {
			return
		}
		mem := append(bytes.Clone(raw), make([]byte, 8192)...)
		var q query
		rcode, ok := q.parse(mem[:len(raw)])
		if q.length > nameMax+1 || q.end > max(len(raw), headerSize) || q.size > ourSize || q.size < defaultSize {
			t.Fatalf("%+v", q)
		}
		var m dns.Msg
		err := m.Unpack(raw)
		if err == nil && !m.Response && m.Opcode == 0 && len(m.Question) == 1 {
			checkQuery(t, raw, &m, &q, rcode, ok)
		}
		if !ok {
			return
		}
		a := q.answer(mem, q.size, rcode)
		if rcode == 0 {
			a.add(typeA, []byte{1, 2, 3, 4})
		}
		out := a.finish()
		var got dns.Msg
		if err := got.Unpack(out); err != nil {
			t.Fatalf("%q is answered by %q: %v", raw, out, err)
		}
		if len(out) > q.size || !got.Response || !bytes.Equal(out[:2], raw[:2]) || rcode == 0 && len(got.Answer) != 1 {
			t.Fatalf("%q is answered by %v", raw, &got)
		}
	})
}

func checkQuery(t *testing.T, raw []byte, m *dns.Msg, q *query, rcode uint8, ok bool) {
	if !ok {
		t.Fatalf("is not answered: %v", m)
	}
	// The other implementation does not insist on a whole question without
	// pointers, on what the header promises, nor on one OPT, where it belongs.
	packed, _ := dns.PackDomainName(m.Question[0].Name, make([]byte, 256), 0, nil, false)
	_, end, _ := dns.UnpackDomainName(raw, headerSize)
	whole := end == headerSize+packed && end+4 <= len(raw) && len(m.Answer) == int(be.Uint16(raw[6:])) && len(m.Ns) == int(be.Uint16(raw[8:])) && len(m.Extra) == int(be.Uint16(raw[10:]))
	var opts []*dns.OPT
	for _, rr := range m.Extra {
		if opt, ok := rr.(*dns.OPT); ok {
			opts = append(opts, opt)
			whole = whole && opt.Hdr.Name == "."
		}
	}
	switch {
	case rcode == rcodeFormat && (!whole || len(opts) > 1):
		return
	case rcode == rcodeVersion && len(opts) > 0 && opts[0].Version() > 0:
		return
	case rcode != 0:
		t.Fatalf("is refused (%d): %v", rcode, m)
	}
	if q.edns != (len(opts) > 0) {
		t.Fatalf("EDNS %v: %v", q.edns, m)
	}
	if m.Question[0].Qtype != q.kind || m.Question[0].Qclass != q.class {
		t.Fatalf("%+v is %v", q, m)
	}
	if name := strings.TrimSuffix(strings.ToLower(m.Question[0].Name), "."); q.plain && !strings.ContainsAny(name, `\`) && string(q.text()) != name {
		t.Fatalf("%q is %q", q.text(), name)
	}
}

// Whatever a server sends, only an answer to the question is passed on.
func FuzzAnswer(f *testing.F) {
	m := question(dns.TypeA, "x.example.")
	sent, _ := m.Pack()
	answer, _ := new(dns.Msg).SetReply(m).Pack()
	f.Add(answer)
	f.Add(sent)
	f.Add([]byte("\x00\x00\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		id := be.Uint16(sent)
		if len(raw) >= 2 {
			be.PutUint16(raw, id) // it is guessed
		}
		if !matches(raw, sent, id) {
			return
		}
		if len(raw) > headerSize {
			var got dns.Msg
			if err := got.Unpack(cut(bytes.Clone(raw))); err != nil {
				t.Fatalf("%q is cut to %q: %v", raw, cut(raw), err)
			}
			if q := got.Question[0]; !strings.EqualFold(q.Name, "x.example.") || q.Qtype != dns.TypeA || q.Qclass != dns.ClassINET {
				t.Fatalf("%q answers %v", raw, q)
			}
		} else if rcodeOf(raw) == 0 {
			t.Fatalf("%q says nothing", raw)
		}
	})
}

// A resolv.conf of any content names at most three servers, and those that
// others read in it.
func FuzzServers(f *testing.F) {
	f.Add("# x\nnameserver 1.2.3.4\nnameserver\t::1 \r\nsearch x\nnameserver fe80::1%2\n")
	f.Add("nameserver 01.2.3.4\nnameserver 1.2.3\nnameserver ::ffff:1.2.3.4\nforward no")
	f.Fuzz(func(t *testing.T, text string) {
		var u upstream
		u.read([]byte(text), "nameserver")
		var want []netip.Addr
		for _, line := range strings.Split(text, "\n") {
			fields := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' || c == '\r' })
			if len(fields) < 2 || fields[0] != "nameserver" || strings.Contains(fields[1], "%") {
				continue
			}
			if a, err := netip.ParseAddr(fields[1]); err == nil && len(want) < maxServers {
				want = append(want, a)
			}
		}
		var got []netip.Addr
		for _, s := range u.list[:u.n] {
			if s.zone == 0 {
				a, _ := netip.AddrFromSlice(s.bytes())
				got = append(got, a)
			}
		}
		if !strings.Contains(text, "%") && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	})
}

// Addresses are read and written as others do.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"1.2.3.4", "01.2.3.4", "256.1.1.1", "::", "::1", "1::", "fd00::1:0:0:2", "1:2:3:4:5:6:7:8", "1::2::3", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "1:", ":1", "12345::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.Contains(s, "%") {
			return
		}
		want, err := netip.ParseAddr(s)
		a, ok := parseAddress([]byte(s))
		if ok != (err == nil) {
			t.Fatalf("%q: %v, %v", s, ok, err)
		}
		if !ok {
			return
		}
		if !bytes.Equal(a.bytes(), want.AsSlice()) {
			t.Fatalf("%q: %v, want %v", s, a.bytes(), want)
		}
		if text := string(appendAddress(nil, &a)); text != want.String() && !want.Is4In6() {
			t.Fatalf("%v is written %q", want, text)
		}
		reverse, _ := dns.ReverseAddr(want.String())
		back, ok := reversed([]byte(strings.TrimSuffix(reverse, ".")))
		if !want.Is4In6() && (!ok || back != a) {
			t.Fatalf("%q: %v, %v", reverse, back, ok)
		}
	})
}

func FuzzReversed(f *testing.F) {
	f.Add("4.3.2.1.in-addr.arpa")
	f.Add(strings.Repeat("f.", 32) + "ip6.arpa")
	f.Fuzz(func(t *testing.T, name string) {
		a, ok := reversed([]byte(name))
		if !ok {
			return
		}
		addr, _ := netip.AddrFromSlice(a.bytes())
		if want, err := dns.ReverseAddr(addr.String()); !addr.Is4In6() && (err != nil || !strings.EqualFold(want, name+".")) {
			t.Fatalf("%q is %v", name, addr)
		}
	})
}

// A question costs no memory, known or forwarded, by the millions.
func TestQuestionsAllocateNothing(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	w.join(self, "net", "10.1.0.2", "self", "all")
	w.join(self, "net", "10.1.0.3", "all")
	w.host.do(func() error { // a server that is silent, and allocates nothing either
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			t.Cleanup(func() { unix.Close(fd) })
			err = unix.Bind(fd, &unix.SockaddrInet4{Port: 53, Addr: [4]byte{127, 0, 0, 2}})
		}
		return err
	})
	for _, name := range []string{"all.", "2.0.1.10.in-addr.arpa.", "x.example."} {
		kind := dns.TypeA
		if strings.HasSuffix(name, "arpa.") {
			kind = dns.TypePTR
		}
		raw, err := question(kind, name).Pack()
		w.must(err)
		var client int
		w.container.do(func() (err error) {
			client, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err == nil {
				err = unix.SetsockoptTimeval(client, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
			}
			if err == nil {
				err = unix.Connect(client, &unix.SockaddrInet4{Port: 53, Addr: addressBytes})
			}
			return err
		})
		defer unix.Close(client)
		buf := make([]byte, 512)
		var allocs float64
		w.inLoop(func() {
			allocs = testing.AllocsPerRun(100, func() {
				unix.Write(client, raw)
				w.server.Ready()
				if name != "x.example." {
					if n, err := unix.Read(client, buf); err != nil || rcodeOf(buf[:n]) != 0 {
						t.Errorf("%s: %v", name, err)
					}
				} else {
					w.server.begun = w.server.begun.Add(-10 * time.Second)
				}
				w.server.Overdue()
			})
		})
		if allocs >= 1 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}
