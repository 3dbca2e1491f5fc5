package table

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"minict/internal/netlink"
	"minict/tests/host"
)

func TestMain(m *testing.M) { os.Exit(host.Run(m.Run)) }

func openRules(t *testing.T) *netlink.Socket {
	t.Helper()
	s, err := netlink.Open(unix.NETLINK_NETFILTER)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := deleteTable(s); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return s
}

var web = Port{Protocol: unix.IPPROTO_TCP, Host: []byte{0, 0, 0, 0}, HostPort: 8080, To: []byte{10, 63, 0, 2}, ToPort: 80}

// The table is made with its content, made again over what is there, and it is
// noticed when any of its chains has lost a rule.
func TestMake(t *testing.T) {
	s := openRules(t)
	if whole, err := Whole(s); whole || err != nil {
		t.Errorf("before it is made: whole %v, %v", whole, err)
	}
	six := web
	six.Host, six.To = make([]byte, 16), []byte{0xfd, 15: 2}
	own := web
	own.Host = []byte{192, 0, 2, 1}
	for range 2 {
		before, err := Generation(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := Make(s, Content{Bridges: []Bridge{{"minict0", false}, {"minict1", true}}, Ports: []Port{web, own, six}}); err != nil {
			t.Fatal(err)
		}
		if after, err := Generation(s); err != nil || after != before+1 {
			t.Errorf("generation %d after %d, %v", after, before, err)
		}
		for set, want := range map[string]int{bridges: 2, internal: 1, hairpin: 2, any4: 1, ports4: 1, any6: 1, ports6: 0} {
			if n, err := count(s, set); err != nil || n != want {
				t.Errorf("%d elements of %s, %v, want %d", n, set, err, want)
			}
		}
	}
	for _, c := range chains() {
		if whole, err := Whole(s); !whole || err != nil {
			t.Fatalf("whole %v, %v", whole, err)
		}
		if err := s.Do(netlink.Batch(func(r *netlink.Request) {
			begin(r, unix.NFT_MSG_DELRULE, 0)
			r.Text(unix.NFTA_RULE_TABLE, Name)
			r.Text(unix.NFTA_RULE_CHAIN, c.name)
		}), nil); err != nil {
			t.Fatal(err)
		}
		if whole, err := Whole(s); whole || err != nil {
			t.Errorf("without the rules of %s: whole %v, %v", c.name, whole, err)
		}
		if err := Make(s, Content{}); err != nil {
			t.Fatal(err)
		}
	}
}

// A port belongs to the last who published it, and only what leads to one's own
// container is taken back.
func TestPorts(t *testing.T) {
	s := openRules(t)
	if err := Make(s, Content{}); err != nil {
		t.Fatal(err)
	}
	next := web
	next.To = []byte{10, 63, 0, 3}
	for _, p := range []Port{web, web, next} {
		if err := AddPorts(s, []Port{p}); err != nil {
			t.Fatal(err)
		}
		if to, err := get(s, p.set(), p.element().key); err != nil || string(to) != string(p.element().value) {
			t.Errorf("it leads to %x, %v, want %x", to, err, p.To)
		}
	}
	if err := RemovePort(s, web); err != nil {
		t.Error(err)
	}
	if n, err := count(s, any4); n != 1 || err != nil {
		t.Errorf("another's port was removed: %d, %v", n, err)
	}
	for range 2 {
		if err := RemovePort(s, next); err != nil {
			t.Error(err)
		}
	}
	if n, err := count(s, any4); n != 0 || err != nil {
		t.Errorf("the port is still there: %d, %v", n, err)
	}
	for range 2 {
		if err := RemoveBridge(s, Bridge{"minict0", true}); err != nil {
			t.Error(err)
		}
	}
}

// Thousands of ports are one transaction, larger than a socket sends unasked.
func TestManyPorts(t *testing.T) {
	s := openRules(t)
	var many []Port
	for i := range 6000 {
		p := web
		p.HostPort = uint16(1 + i)
		many = append(many, p)
	}
	if err := Make(s, Content{Ports: many}); err != nil {
		t.Fatal(err)
	}
	if n, err := count(s, any4); n != len(many) || err != nil {
		t.Errorf("%d ports, %v", n, err)
	}
	if err := Make(s, Content{}); err != nil {
		t.Fatal(err)
	}
	if err := AddPorts(s, many); err != nil {
		t.Fatal(err)
	}
	many[len(many)-1].To = []byte{10, 63, 0, 3} // one is in the way
	if err := AddPorts(s, many); err != nil {
		t.Fatal(err)
	}
}

// deleteTable removes the table, if it is there.
func deleteTable(s *netlink.Socket) error {
	err := s.Do(netlink.Batch(func(r *netlink.Request) {
		begin(r, unix.NFT_MSG_DELTABLE, 0)
		r.Text(unix.NFTA_TABLE_NAME, Name)
	}), nil)
	if refused(err) == unix.ENOENT {
		return nil
	}
	return err
}

// count says how many elements a set has.
func count(s *netlink.Socket, set string) (n int, err error) {
	r := &netlink.Request{}
	begin(r, unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP)
	r.Text(unix.NFTA_SET_ELEM_LIST_TABLE, Name)
	r.Text(unix.NFTA_SET_ELEM_LIST_SET, set)
	err = s.Do(r, func(_ uint16, body []byte) {
		attrs := body[min(sizeofNfgenmsg, len(body)):]
		for range netlink.Attributes(netlink.Find(attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS)) {
			n++
		}
	})
	return n, err
}
