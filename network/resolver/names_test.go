package resolver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// A small town of containers: on two networks that the container is on, and one
// that it is not.
func town(t *testing.T) *world {
	w := newWorld(t)
	for _, id := range []string{"db", "web1", "web2", "six", "spy", "dead"} {
		w.addContainer(id)
	}
	w.join(self, "front", "10.1.0.2", "self")
	w.join(self, "Back.End", "10.2.0.2", "self")
	w.join("db", "Back.End", "10.2.0.3", "db", "my.database")
	w.join("web1", "front", "10.1.0.4", "web1", "web")
	w.join("web2", "front", "10.1.0.5", "web2", "web")
	w.join("web2", "front", "fd00::5", "web2", "web")
	w.join("six", "front", "fd00::6", "six")
	w.join("spy", "secret", "10.3.0.2", "spy", "db")
	w.join("dead", "front", "10.1.0.9", "dead", "web")
	w.join("db", "bridge", "10.4.0.2")
	w.join(self, "bridge", "10.4.0.3")
	w.addContainer("Upper")
	w.join("Upper", "front", "10.1.0.11", "upper")
	w.addContainer("renamed")
	w.join("renamed", "front", "10.1.0.12", longID("renamed")[:shortID])
	w.die("dead")
	w.settings(Settings{NoForward: true})
	return w
}

func TestNames(t *testing.T) {
	w := town(t)
	for _, tt := range []struct {
		kind uint16
		name string
		want string
	}{
		{dns.TypeA, "db.", "10.2.0.3"},
		{dns.TypeA, "DB.", "10.2.0.3"},
		{dns.TypeA, "db.back.end.", "10.2.0.3"},
		{dns.TypeA, "db.Back.End.", "10.2.0.3"},
		{dns.TypeA, "db.front.", "NXDOMAIN"},
		{dns.TypeA, "my.database.", "10.2.0.3"},
		{dns.TypeA, "my.database.back.end.", "10.2.0.3"},
		{dns.TypeA, "six.", ""},
		{dns.TypeAAAA, "six.", "fd00::6"},
		{dns.TypeAAAA, "db.", ""},
		{dns.TypeMX, "db.", ""},
		{dns.TypeHTTPS, "db.", ""},
		{dns.TypeAAAA, "web2.front.", "fd00::5"},
		{dns.TypeA, "spy.", "NXDOMAIN"},
		{dns.TypeA, "spy.secret.", "NXDOMAIN"},
		{dns.TypeA, "dead.", "NXDOMAIN"},
		{dns.TypeA, "front.", "NXDOMAIN"},
		{dns.TypeA, ".", "NXDOMAIN"},
		{dns.TypeA, `db\046front.`, "NXDOMAIN"},         // one label with a dot in it
		{dns.TypeA, `x\047\046\046\047db.`, "NXDOMAIN"}, // a path
		{dns.TypeA, `\046\046.db.`, "NXDOMAIN"},
		{dns.TypePTR, "3.0.2.10.in-addr.arpa.", "db.Back.End."},
		{dns.TypePTR, "4.0.1.10.IN-ADDR.arpa.", "web1.front."},
		{dns.TypePTR, "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", "web2.front."},
		{dns.TypePTR, "11.0.1.10.in-addr.arpa.", "Upper.front."},
		{dns.TypePTR, "12.0.1.10.in-addr.arpa.", longID("renamed")[:shortID] + ".front."},
		{dns.TypePTR, "2.0.4.10.in-addr.arpa.", "NXDOMAIN"}, // the default network
		{dns.TypePTR, "9.0.1.10.in-addr.arpa.", "NXDOMAIN"},
		{dns.TypePTR, "2.0.3.10.in-addr.arpa.", "NXDOMAIN"},
		{dns.TypePTR, "03.0.2.10.in-addr.arpa.", "NXDOMAIN"},
	} {
		if got := w.ask(tt.kind, tt.name); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", dns.TypeToString[tt.kind], tt.name, got, tt.want)
		}
	}
}

// Who has several addresses is not always called at the first.
func TestSeveralAddressesTakeTurns(t *testing.T) {
	w := town(t)
	first := map[string]int{}
	for range 6 {
		got := strings.Fields(w.ask(dns.TypeA, "web."))
		if len(got) != 2 {
			t.Fatalf("got %q", got)
		}
		first[got[0]]++
	}
	if first["10.1.0.4"] != 3 || first["10.1.0.5"] != 3 {
		t.Errorf("first came %v", first)
	}
	any := w.exchange("tcp", question(dns.TypeANY, "web2."))
	equal(t, "records of any kind", len(any.Answer), 2)
}

// Names that come and go are seen at once, and so are networks.
func TestNamesComeAndGo(t *testing.T) {
	w := town(t)
	equal(t, "before", w.ask(dns.TypeA, "new."), "NXDOMAIN")
	w.addContainer("new")
	w.join("new", "front", "10.1.0.20", "new")
	equal(t, "there", w.ask(dns.TypeA, "new."), "10.1.0.20")
	w.die("new")
	equal(t, "killed", w.ask(dns.TypeA, "new."), "NXDOMAIN")

	w.must(os.Symlink(filepath.Join(w.top, "networks/secret"), filepath.Join(w.runDir(self), "net/secret")))
	equal(t, "connected", w.ask(dns.TypeA, "spy."), "10.3.0.2")
	w.must(os.Remove(filepath.Join(w.runDir(self), "net/secret")))
	equal(t, "disconnected", w.ask(dns.TypeA, "spy."), "NXDOMAIN")
}

// An answer is as long as its client can take; the rest comes over TCP.
func TestLargeAnswers(t *testing.T) {
	w := newWorld(t)
	w.join(self, "net", "10.1.0.2")
	const count = maxFound
	for i := range count {
		w.join(self, "net", fmt.Sprintf("10.9.%d.%d", i>>8, i&255), "all")
	}
	for _, tt := range []struct {
		size, records int
	}{{0, (512 - 21) / 16}, {1232, (1232 - 32) / 16}, {4096, (4096 - 32) / 16}, {65535, (4096 - 32) / 16}, {100, (512 - 32) / 16}} {
		m := question(dns.TypeA, "all.")
		if tt.size > 0 {
			m.SetEdns0(uint16(tt.size), true)
		}
		answer := w.exchange("udp", m)
		equal(t, fmt.Sprintf("records in %d bytes", tt.size), len(answer.Answer), tt.records)
		equal(t, "truncated", answer.Truncated, true)
		if tt.size > 0 && (answer.IsEdns0() == nil || answer.IsEdns0().UDPSize() != ourSize) {
			t.Errorf("no OPT of ours: %v", answer)
		}
	}
	answer := w.exchange("tcp", question(dns.TypeA, "all."))
	equal(t, "records over TCP", len(answer.Answer), count)
	equal(t, "truncated", answer.Truncated, false)
}

func TestHeader(t *testing.T) {
	w := town(t)
	m := question(dns.TypeA, "dB.")
	m.RecursionDesired = false
	m.CheckingDisabled = true
	answer := w.exchange("udp", m)
	equal(t, "name as it was asked", answer.Question[0].Name, "dB.")
	equal(t, "recursion is available", answer.RecursionAvailable, true)
	equal(t, "recursion was wanted", answer.RecursionDesired, false)
	equal(t, "TTL", answer.Answer[0].Header().Ttl, uint32(ttl))

	m = question(dns.TypeA, "db.")
	m.SetEdns0(1232, false)
	m.IsEdns0().SetVersion(1)
	answer = w.exchange("udp", m)
	equal(t, "version", answer.Rcode, dns.RcodeBadVers)

	m = question(dns.TypeA, "db.")
	m.Opcode = dns.OpcodeUpdate
	equal(t, "update", short(w.exchange("udp", m)), "NOTIMP")
	m = question(dns.TypeA, "db.")
	m.Question = append(m.Question, m.Question[0])
	equal(t, "two questions", short(w.exchange("udp", m)), "FORMERR")
	m = question(dns.TypeA, "db.")
	m.Question[0].Qclass = dns.ClassCHAOS
	equal(t, "another class", short(w.exchange("udp", m)), "NXDOMAIN")
}
