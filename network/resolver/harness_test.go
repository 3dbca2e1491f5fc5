package resolver

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace of a test's.
type namespace struct {
	t    *testing.T
	file *os.File
}

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("makes network namespaces: run it as root")
	}
	n := &namespace{t: t}
	onThread(t, func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		var err error
		n.file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	t.Cleanup(func() { n.file.Close() })
	return n
}

// onThread runs body on a thread that ends with it.
func onThread(t *testing.T, body func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- body()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// do runs body in the namespace.
func (n *namespace) do(body func() error) {
	n.t.Helper()
	onThread(n.t, func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return err
		}
		return body()
	})
}

// world is a host with a container, and what lies in its directories.
type world struct {
	t               *testing.T
	top             string
	host, container *namespace
	server          *Server
	sockets         Sockets
	locks           map[string]*os.File
	wake            int
	orders          chan func()
}

const self = "self"

// newWorld has one container, and a name server for it that is served until the
// test ends. The host's name servers are listed.
func newWorld(t *testing.T, servers ...string) *world {
	t.Helper()
	w := &world{t: t, top: t.TempDir(), host: newNamespace(t), container: newNamespace(t), locks: map[string]*os.File{}}
	w.host.do(loopbackUp)
	w.setServers(servers...)
	w.addContainer(self)
	w.container.do(func() (err error) {
		w.sockets, err = Open()
		return err
	})
	w.serve()
	return w
}

// serve is the monitor's part: one loop.
func (w *world) serve() {
	w.t.Helper()
	server, err := New(w.runDir(self), w.sockets, make([]byte, MemorySize))
	if err != nil {
		w.t.Fatal(err)
	}
	server.hostFile = filepath.Join(w.top, "resolv.conf")
	w.server = server
	w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		w.t.Fatal(err)
	}
	w.orders = make(chan func())
	stopped := false
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Setns(int(w.host.file.Fd()), unix.CLONE_NEWNET); err != nil {
			w.t.Error(err)
			return
		}
		polls := []unix.PollFd{{Fd: int32(server.FD()), Events: unix.POLLIN}, {Fd: int32(w.wake), Events: unix.POLLIN}}
		for !stopped {
			if n, err := unix.Poll(polls, server.Wait()); err == nil && n == 0 {
				server.Idle() // as often as can be: what it needs it must not forget
			}
			server.Ready()
			server.Overdue()
			if polls[1].Revents != 0 {
				unix.Read(w.wake, make([]byte, 8))
				(<-w.orders)()
			}
		}
	}()
	w.t.Cleanup(func() {
		w.inLoop(func() { stopped = true })
		<-done
		server.Close()
		unix.Close(w.wake)
	})
}

// inLoop does something in the loop.
func (w *world) inLoop(do func()) {
	done := make(chan struct{})
	unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	w.orders <- func() { do(); close(done) }
	<-done
}

// later makes time pass.
func (w *world) later(d time.Duration) {
	w.inLoop(func() { w.server.begun = w.server.begun.Add(-d) })
}

// counts is how many queries and connections the server has.
func (w *world) counts() (queries, streams int) {
	w.inLoop(func() { queries, streams = w.server.asked, w.server.open })
	return queries, streams
}

func (w *world) runDir(id string) string { return filepath.Join(w.top, "containers", longID(id)) }

// longID makes an id of a short word.
func longID(word string) string {
	return fmt.Sprintf("%064x", word)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) setServers(servers ...string) {
	w.t.Helper()
	text := "# made for a test\nsearch example.com\n"
	for _, s := range servers {
		text += "nameserver " + s + "\n"
	}
	w.write("resolv.conf", text)
}

func (w *world) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.top, name)
	w.must(os.WriteFile(path+".new", []byte(text), 0o600))
	w.must(os.Rename(path+".new", path))
}

// settings writes the container's own file.
func (w *world) settings(s Settings) {
	w.t.Helper()
	path := filepath.Join(w.runDir(self), SettingsFile)
	w.must(os.WriteFile(path, s.Encode(), 0o600))
}

// addContainer makes a living container.
func (w *world) addContainer(id string) {
	w.t.Helper()
	w.must(os.MkdirAll(filepath.Join(w.runDir(id), "net"), 0o700))
	w.must(os.Symlink(id, filepath.Join(w.runDir(id), "name")))
	f, err := os.Create(filepath.Join(w.runDir(id), "lock"))
	w.must(err)
	w.must(unix.Flock(int(f.Fd()), unix.LOCK_EX))
	w.locks[id] = f
	w.t.Cleanup(func() { f.Close() })
}

// die leaves what a container leaves whose monitor was killed.
func (w *world) die(id string) { w.locks[id].Close() }

// join puts a container on a network, under an address and names.
func (w *world) join(id, network, addr string, names ...string) {
	w.t.Helper()
	dir := filepath.Join(w.top, "networks", network)
	w.must(os.MkdirAll(filepath.Join(dir, "leases"), 0o700))
	w.must(os.MkdirAll(filepath.Join(dir, "names"), 0o700))
	w.must(os.Symlink(longID(id), filepath.Join(dir, "leases", addr)))
	for _, name := range names {
		w.must(os.MkdirAll(filepath.Join(dir, "names", name), 0o700))
		w.must(os.Symlink(longID(id), filepath.Join(dir, "names", name, addr)))
	}
	if err := os.Symlink(dir, filepath.Join(w.runDir(id), "net", network)); err != nil && !os.IsExist(err) {
		w.t.Fatal(err)
	}
}

// exchange sends a query from the container, and gives the answer.
func (w *world) exchange(protocol string, m *dns.Msg) *dns.Msg {
	w.t.Helper()
	var answer *dns.Msg
	w.container.do(func() error {
		client := dns.Client{Net: protocol, Timeout: 20 * time.Second}
		var err error
		answer, _, err = client.Exchange(m, Address+":53")
		return err
	})
	return answer
}

// ask asks over UDP, and gives the answer in short: the rcode unless it is
// NOERROR, and the data of each record.
func (w *world) ask(kind uint16, name string) string {
	w.t.Helper()
	return short(w.exchange("udp", question(kind, name)))
}

func question(kind uint16, name string) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	return m
}

func short(m *dns.Msg) string {
	var list []string
	if m.Rcode != dns.RcodeSuccess {
		list = append(list, dns.RcodeToString[m.Rcode])
	}
	if m.Truncated {
		list = append(list, "truncated")
	}
	for _, rr := range m.Answer {
		list = append(list, strings.TrimPrefix(rr.String(), rr.Header().String()))
	}
	return strings.Join(list, " ")
}

// upstream is a name server of the host's.
type upstreamServer struct {
	addr string
	seen chan *dns.Msg
}

// upstream starts a name server in the host's namespace.
func (w *world) upstream(addr string, handle dns.HandlerFunc) *upstreamServer {
	w.t.Helper()
	u := &upstreamServer{addr: addr, seen: make(chan *dns.Msg, 1000)}
	handler := dns.HandlerFunc(func(r dns.ResponseWriter, m *dns.Msg) {
		u.seen <- m
		handle(r, m)
	})
	w.host.do(func() error {
		at := net.JoinHostPort(addr, "53")
		packets, err := net.ListenPacket("udp", at)
		if err != nil {
			return err
		}
		streams, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		for _, s := range []*dns.Server{{PacketConn: packets, Handler: handler}, {Listener: streams, Handler: handler}} {
			go s.ActivateAndServe()
			w.t.Cleanup(func() { s.Shutdown() })
		}
		return nil
	})
	return u
}

// says answers each question with the same records.
func says(records ...string) dns.HandlerFunc {
	return func(r dns.ResponseWriter, m *dns.Msg) {
		answer := new(dns.Msg)
		answer.SetReply(m)
		for _, text := range records {
			rr, err := dns.NewRR(m.Question[0].Name + " 60 IN " + text)
			if err != nil {
				panic(err)
			}
			answer.Answer = append(answer.Answer, rr)
		}
		if r.LocalAddr().Network() == "udp" {
			size := dns.MinMsgSize
			if opt := m.IsEdns0(); opt != nil {
				size = int(opt.UDPSize())
			}
			answer.Truncate(size)
		}
		r.WriteMsg(answer)
	}
}

// fails answers each question with an rcode.
func fails(rcode int) dns.HandlerFunc {
	return func(r dns.ResponseWriter, m *dns.Msg) { r.WriteMsg(new(dns.Msg).SetRcode(m, rcode)) }
}

func equal[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
