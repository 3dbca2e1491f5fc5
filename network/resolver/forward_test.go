package resolver

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestForward(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	up := w.upstream("127.0.0.2", says("A 192.0.2.1"))
	for _, protocol := range []string{"udp", "tcp"} {
		m := question(dns.TypeA, "ExamPle.com.")
		m.SetEdns0(1400, true)
		answer := w.exchange(protocol, m)
		equal(t, protocol, short(answer), "192.0.2.1")
		equal(t, "id", answer.Id, m.Id)
		seen := <-up.seen
		equal(t, "name", seen.Question[0].Name, "ExamPle.com.")
		equal(t, "size", seen.IsEdns0().UDPSize(), uint16(1400))
		equal(t, "DO", seen.IsEdns0().Do(), true)
	}
	for range 100 {
		w.ask(dns.TypeTXT, "example.com.")
	}
	ids := map[uint16]bool{}
	for range 100 {
		ids[(<-up.seen).Id] = true
	}
	if len(ids) < 95 {
		t.Errorf("%d ids for 100 queries", len(ids))
	}
	if queries, streams := w.counts(); queries > 0 || streams > 1 {
		t.Errorf("%d queries, %d streams are left", queries, streams)
	}
}

// A server can have an IPv6 address, and one that means something on one interface
// only.
func TestServersWithIPv6(t *testing.T) {
	w := newWorld(t, "::1")
	w.upstream("::1", says("A 192.0.2.1"))
	for _, server := range []string{"::1", "::1%lo", "::1%1"} {
		w.setServers(server)
		for _, protocol := range []string{"udp", "tcp"} {
			equal(t, server+" by "+protocol, short(w.exchange(protocol, question(dns.TypeA, "x."))), "192.0.2.1")
		}
	}
	for _, server := range []string{"fe80::1%", "fe80::1%no-such-interface", "127.0.0.1%lo", "fe80::1%4294967297"} {
		if _, ok := parseServer([]byte(server)); ok {
			t.Errorf("%q passes for a server", server)
		}
	}
}

// Who does not answer, or says that it can't, is not the last to be asked.
func TestNextServer(t *testing.T) {
	good, bad, silent := says("A 192.0.2.1"), fails(dns.RcodeServerFailure), func(dns.ResponseWriter, *dns.Msg) {}
	for _, tt := range []struct {
		name     string
		handlers []dns.HandlerFunc // nil: nobody listens
		want     string
		slow     bool
	}{
		{"unreachable", []dns.HandlerFunc{nil, good}, "192.0.2.1", false},
		{"failure", []dns.HandlerFunc{bad, fails(dns.RcodeRefused), good}, "192.0.2.1", false},
		{"no such name", []dns.HandlerFunc{fails(dns.RcodeNameError), good}, "NXDOMAIN", false},
		{"all fail", []dns.HandlerFunc{bad, fails(dns.RcodeRefused)}, "REFUSED", false},
		{"all unreachable", []dns.HandlerFunc{nil, nil}, "SERVFAIL", false},
		{"fails and is gone", []dns.HandlerFunc{fails(dns.RcodeNotImplemented), nil}, "NOTIMP", false},
		{"nobody", nil, "SERVFAIL", false},
		{"silent", []dns.HandlerFunc{silent, good}, "192.0.2.1", true},
		{"all silent", []dns.HandlerFunc{silent}, "SERVFAIL", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			var servers []string
			for i, handle := range tt.handlers {
				servers = append(servers, fmt.Sprintf("127.0.0.%d", i+2))
				if handle != nil {
					w.upstream(servers[i], handle)
				}
			}
			w.setServers(servers...)
			for _, protocol := range []string{"udp", "tcp"} {
				begin := time.Now()
				got := short(w.exchange(protocol, question(dns.TypeA, "example.com.")))
				equal(t, protocol, got, tt.want)
				if took := time.Since(begin); !tt.slow && took > time.Second || took > 5*time.Second {
					t.Errorf("%s took %v", protocol, took)
				}
			}
		})
	}
}

// Where to ask is read at each question; a container's own list comes first, and
// where nothing is forwarded, nobody hears of it.
func TestWhomToAsk(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	first := w.upstream("127.0.0.2", says("A 192.0.2.2"))
	w.upstream("127.0.0.3", says("A 192.0.2.3"))
	w.upstream("127.0.0.4", says("A 192.0.2.4"))
	equal(t, "host's", w.ask(dns.TypeA, "x.example."), "192.0.2.2")
	w.setServers("127.0.0.3", "127.0.0.2")
	equal(t, "changed", w.ask(dns.TypeA, "x.example."), "192.0.2.3")
	w.settings(Settings{Servers: []string{"127.0.0.4"}})
	equal(t, "container's", w.ask(dns.TypeA, "x.example."), "192.0.2.4")
	<-first.seen
	w.setServers("127.0.0.2")
	w.settings(Settings{Servers: []string{"127.0.0.2"}, NoForward: true})
	for _, protocol := range []string{"udp", "tcp"} {
		equal(t, "nobody", short(w.exchange(protocol, question(dns.TypeA, "x.example."))), "NXDOMAIN")
	}
	if len(first.seen) > 0 {
		t.Error("a server was asked")
	}
	w.settings(Settings{})
	w.must(os.Remove(w.top + "/resolv.conf"))
	equal(t, "no file", w.ask(dns.TypeA, "x.example."), "SERVFAIL")
}

// A large answer is cut as its server has cut it, and comes whole over TCP.
func TestLargeForwardedAnswers(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	var many []string
	for i := range 2000 {
		many = append(many, fmt.Sprintf("A 10.0.%d.%d", i>>8, i&255))
	}
	w.upstream("127.0.0.2", says(many...))
	answer := w.exchange("udp", question(dns.TypeA, "many.example."))
	if !answer.Truncated {
		t.Error("is not truncated")
	}
	m := question(dns.TypeA, "many.example.")
	m.SetEdns0(4096, false)
	answer = w.exchange("udp", m)
	if !answer.Truncated || len(answer.Answer) < 100 {
		t.Errorf("truncated %v, %d records", answer.Truncated, len(answer.Answer))
	}
	answer = w.exchange("tcp", question(dns.TypeA, "many.example."))
	equal(t, "records over TCP", len(answer.Answer), len(many))
}

// A server that sends more than its client can take does not fool it.
func TestAnswerThatIsTooLong(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	w.upstream("127.0.0.2", func(r dns.ResponseWriter, m *dns.Msg) {
		answer := new(dns.Msg).SetReply(m)
		for range 100 {
			rr, _ := dns.NewRR(m.Question[0].Name + " IN A 1.2.3.4")
			answer.Answer = append(answer.Answer, rr)
		}
		r.WriteMsg(answer)
	})
	answer := w.exchange("udp", question(dns.TypeA, "a.example."))
	if !answer.Truncated || len(answer.Answer) > 0 {
		t.Errorf("got %v", answer)
	}
}

// Only what answers the question that was asked, with its id, is an answer.
func TestForgery(t *testing.T) {
	for _, protocol := range []string{"udp", "tcp"} {
		w := newWorld(t, "127.0.0.2")
		w.upstream("127.0.0.2", func(r dns.ResponseWriter, m *dns.Msg) {
			forge := func(change func(*dns.Msg)) {
				answer := new(dns.Msg).SetReply(m)
				rr, _ := dns.NewRR("x.example. IN A 6.6.6.6")
				answer.Answer = append(answer.Answer, rr)
				change(answer)
				r.WriteMsg(answer)
			}
			if r.LocalAddr().Network() == "udp" {
				forge(func(a *dns.Msg) { a.Id++ })
				forge(func(a *dns.Msg) { a.Response = false })
				forge(func(a *dns.Msg) { a.Opcode = dns.OpcodeNotify })
				forge(func(a *dns.Msg) { a.Question[0].Name = "y.example." })
				forge(func(a *dns.Msg) { a.Question[0].Name = "x.example.com." })
				forge(func(a *dns.Msg) { a.Question[0].Qtype = dns.TypeAAAA })
				forge(func(a *dns.Msg) { a.Question = nil })
				forge(func(a *dns.Msg) { a.Question = append(a.Question, a.Question[0]) })
				r.Write([]byte{byte(m.Id >> 8), byte(m.Id)})
				r.Write(nil)
				forge(func(a *dns.Msg) { a.Question[0].Name = "X.Example."; a.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 1) })
				return
			}
			forge(func(a *dns.Msg) { a.Id++ }) // on a connection there is no second
		})
		want := map[string]string{"udp": "192.0.2.1", "tcp": "SERVFAIL"}[protocol]
		equal(t, protocol, short(w.exchange(protocol, question(dns.TypeA, "x.example."))), want)
	}
}

// A server that does not know what the client has sent may say so without
// repeating the question.
func TestFormatErrorWithoutQuestion(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	w.upstream("127.0.0.2", func(r dns.ResponseWriter, m *dns.Msg) {
		r.WriteMsg(&dns.Msg{MsgHdr: dns.MsgHdr{Id: m.Id, Response: true, Rcode: dns.RcodeFormatError}})
	})
	for _, protocol := range []string{"udp", "tcp"} {
		equal(t, protocol, short(w.exchange(protocol, question(dns.TypeA, "x."))), "FORMERR")
	}
}

// musl asks for A and AAAA at once on one socket, and takes answers in any order.
// Asked again meanwhile, the servers are not.
func TestTwoQuestionsOnOneSocket(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	answer := make(chan bool)
	up := w.upstream("127.0.0.2", func(r dns.ResponseWriter, m *dns.Msg) {
		<-answer
		if m.Question[0].Qtype == dns.TypeA {
			says("A 192.0.2.1")(r, m)
		} else {
			says("AAAA 2001:db8::1")(r, m)
		}
	})
	w.container.do(func() error {
		c, err := net.ListenPacket("udp4", "0.0.0.0:0")
		if err != nil {
			return err
		}
		defer c.Close()
		to := &net.UDPAddr{IP: net.ParseIP(Address), Port: 53}
		a, aaaa := question(dns.TypeA, "x.example."), question(dns.TypeAAAA, "x.example.")
		for range 3 {
			for _, m := range []*dns.Msg{a, aaaa} {
				raw, err := m.Pack()
				if err != nil {
					return err
				}
				if _, err := c.WriteTo(raw, to); err != nil {
					return err
				}
			}
		}
		<-up.seen
		<-up.seen
		w.counts() // all that was sent was seen to
		close(answer)
		got := map[uint16]string{}
		for range 2 {
			buf := make([]byte, 512)
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return err
			}
			equal(t, "from", from.String(), Address+":53")
			var m dns.Msg
			if err := m.Unpack(buf[:n]); err != nil {
				return err
			}
			got[m.Id] = short(&m)
		}
		equal(t, "A", got[a.Id], "192.0.2.1")
		equal(t, "AAAA", got[aaaa.Id], "2001:db8::1")
		if len(up.seen) > 0 {
			t.Error("a server was asked again")
		}
		return nil
	})
}

// While servers are silent, only so many queries are kept. Names of containers
// are answered all the same.
func TestManyQueries(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	w.join(self, "net", "10.1.0.2", "db")
	w.upstream("127.0.0.2", func(dns.ResponseWriter, *dns.Msg) {})
	refused := 0
	w.container.do(func() error {
		c, err := net.Dial("udp4", Address+":53")
		if err != nil {
			return err
		}
		defer c.Close()
		send := func(i int) error {
			m := question(dns.TypeA, fmt.Sprintf("x%d.example.", i))
			m.Id = uint16(i)
			raw, err := m.Pack()
			if err == nil {
				_, err = c.Write(raw)
			}
			return err
		}
		for i := range maxQueries {
			if err := send(i); err != nil {
				return err
			}
		}
		for queries := 0; queries < maxQueries; {
			queries, _ = w.counts()
		}
		for i := range 10 {
			if err := send(maxQueries + i); err != nil {
				return err
			}
			buf := make([]byte, 512)
			n, err := c.Read(buf)
			if err != nil {
				return err
			}
			var m dns.Msg
			if err := m.Unpack(buf[:n]); err != nil {
				return err
			}
			if m.Rcode == dns.RcodeServerFailure && int(m.Id) >= maxQueries {
				refused++
			}
		}
		return nil
	})
	equal(t, "refused", refused, 10)
	equal(t, "a container", w.ask(dns.TypeA, "db."), "10.1.0.2")
	for range maxTries {
		w.later(2 * time.Second)
	}
	queries, _ := w.counts()
	equal(t, "queries after a while", queries, 0)
	sockets := 0
	for _, name := range open(t) {
		if strings.HasPrefix(name, "socket:") {
			sockets++
		}
	}
	if sockets > 50 {
		t.Errorf("%d sockets are open", sockets)
	}
}

func open(t *testing.T) (list []string) {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			list = append(list, to)
		}
	}
	return list
}

// Who asks too fast is not heard for a moment, and then again. Nothing is lost
// that fits into the socket.
func TestFlood(t *testing.T) {
	w := newWorld(t)
	w.join(self, "net", "10.1.0.2", "db")
	raw, err := question(dns.TypeA, "db.").Pack()
	w.must(err)
	w.container.do(func() error {
		c, err := net.Dial("udp4", Address+":53")
		if err != nil {
			return err
		}
		defer c.Close()
		const extra = 20
		w.inLoop(func() {
			w.server.begun = w.server.begun.Add(time.Duration(w.server.now() % window)) // a window begins
			w.server.counted = maxPerWindow - extra/2
			w.server.window = w.server.now() / window
			for range extra {
				if _, err = c.Write(raw); err != nil {
					return
				}
			}
			w.server.receive()
			equal(t, "deaf", w.server.deaf, true)
		})
		if err != nil {
			return err
		}
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		for i := range extra {
			if _, err := c.Read(make([]byte, 512)); err != nil {
				return fmt.Errorf("answer %d: %w", i, err)
			}
		}
		return nil
	})
	deaf := true
	w.inLoop(func() { deaf = w.server.deaf })
	equal(t, "deaf in the end", deaf, false)
}

// A query that nobody needs to send is not forwarded; rubbish is not answered.
func TestRubbish(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	up := w.upstream("127.0.0.2", says("A 192.0.2.1"))
	m := question(dns.TypeA, "x.example.")
	m.SetEdns0(4096, false)
	m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_PADDING{Padding: make([]byte, maxQuery)})
	for _, protocol := range []string{"udp", "tcp"} {
		equal(t, "long query by "+protocol, short(w.exchange(protocol, m)), "REFUSED")
	}
	w.container.do(func() error {
		c, err := net.Dial("udp4", Address+":53")
		if err != nil {
			return err
		}
		defer c.Close()
		for _, raw := range []string{"", "x", strings.Repeat("\x80", 100), strings.Repeat("\xff", 1000)} {
			if _, err := c.Write([]byte(raw)); err != nil {
				return err
			}
		}
		return nil
	})
	equal(t, "after that", w.ask(dns.TypeA, "x.example."), "192.0.2.1")
	equal(t, "forwarded", len(up.seen), 1)
}
