package resolver

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// dial connects from the container.
func (w *world) dial() *net.TCPConn {
	w.t.Helper()
	var c net.Conn
	w.container.do(func() (err error) {
		c, err = net.Dial("tcp", Address+":53")
		return err
	})
	w.t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func send(t *testing.T, c net.Conn, m *dns.Msg) {
	t.Helper()
	if err := (&dns.Conn{Conn: c}).WriteMsg(m); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c net.Conn) *dns.Msg {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	m, err := (&dns.Conn{Conn: c}).ReadMsg()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// ended waits until the server has closed a connection.
func ended(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	var b [1]byte
	if n, err := c.Read(b[:]); n > 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read %d bytes, %v", n, err)
	}
}

// Several questions on one connection are answered, known and unknown, however
// they arrive, and also when the client says that it has no more.
func TestQuestionsOnOneConnection(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	w.join(self, "net", "10.1.0.2", "db")
	w.upstream("127.0.0.2", says("A 192.0.2.1"))
	c := w.dial()
	var raw []byte
	for _, name := range []string{"db.", "x.example.", "db.", "y.example."} {
		m, err := question(dns.TypeA, name).Pack()
		w.must(err)
		raw = append(append(raw, 0, byte(len(m))), m...)
	}
	for _, b := range raw[:30] {
		c.Write([]byte{b})
		w.counts()
	}
	c.Write(raw[30:])
	c.CloseWrite()
	for _, want := range []string{"10.1.0.2", "192.0.2.1", "10.1.0.2", "192.0.2.1"} {
		equal(t, "answer", short(receive(t, c)), want)
	}
	ended(t, c)
}

// A connection takes what is asked of it as long as it does not keep others from
// theirs: it has its time, and when there are many, those that are idle go.
func TestConnectionsHaveLimits(t *testing.T) {
	w := newWorld(t, "127.0.0.2")
	w.upstream("127.0.0.2", func(dns.ResponseWriter, *dns.Msg) {})
	first := w.dial()
	for streams := 0; streams < 1; {
		_, streams = w.counts()
	}
	w.later(time.Second)
	var others []*net.TCPConn
	for range maxStreams {
		others = append(others, w.dial())
	}
	ended(t, first)
	_, streams := w.counts()
	equal(t, "connections", streams, maxStreams)

	for _, c := range others { // all are busy now
		send(t, c, question(dns.TypeA, "x.example."))
	}
	for busy := 0; busy < maxStreams; {
		w.inLoop(func() {
			busy = 0
			for i := range w.server.streams {
				if w.server.streams[i].phase == waiting {
					busy++
				}
			}
		})
	}
	ended(t, w.dial())
	w.later(4 * time.Second)
	for _, c := range others {
		equal(t, "answer", short(receive(t, c)), "SERVFAIL")
	}
	others[0].Write([]byte{0, 50, 1, 2, 3}) // and no more
	w.counts()
	w.later(idleTimeOut)
	for _, c := range others {
		ended(t, c)
	}
	_, streams = w.counts()
	equal(t, "connections at the end", streams, 0)
	w.inLoop(func() { equal(t, "wait", w.server.Wait(), -1) })
}

const idleTimeOut = time.Duration(idleTime + second)

// Who asks and does not read the answers is hung up on.
func TestAnswersThatNobodyReads(t *testing.T) {
	w := newWorld(t)
	for i := range maxFound {
		w.join(self, "net", net.IPv4(10, 9, byte(i>>8), byte(i)).String(), "all")
	}
	c := w.dial()
	c.SetReadBuffer(1 << 12)
	raw, err := question(dns.TypeA, "all.").Pack()
	w.must(err)
	for stuck := false; !stuck; {
		c.Write(append([]byte{0, byte(len(raw))}, raw...))
		w.inLoop(func() {
			for i := range w.server.streams {
				stuck = stuck || w.server.streams[i].phase == answering
			}
		})
	}
	w.later(idleTimeOut)
	_, streams := w.counts()
	equal(t, "connections", streams, 0)
}

// What is no message ends the connection.
func TestRubbishOnAConnection(t *testing.T) {
	w := newWorld(t)
	for _, rubbish := range []string{"\x00\x00", "\x00\x01x", "\x00\x0c0123\x00\x00\x00\x0089ab", "\x00\x14\x00\x00\x80\x00" + "0123456789abcdef"} {
		c := w.dial()
		c.Write([]byte(rubbish))
		ended(t, c)
	}
	c := w.dial()
	c.Write([]byte("\xff"))
	c.SetLinger(0)
	c.Close()
	for streams := 1; streams > 0; {
		_, streams = w.counts()
	}
}
