package network

import (
	"bytes"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"minict/internal/netlink"
	"minict/network/table"
)

// foreign makes a table of somebody else's, with chains of which the first is
// the kernel's to call and drops what no rule accepts.
func (w *world) foreign(family byte, name string, chains ...string) {
	w.t.Helper()
	k, err := openKernel()
	w.must(err)
	defer k.close()
	begin := func(r *netlink.Request, kind, flags uint16) {
		r.Netfilter(unix.NFNL_SUBSYS_NFTABLES, kind, flags, family)
	}
	w.must(k.rules.Do(netlink.Batch(func(r *netlink.Request) {
		begin(r, unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE)
		r.Text(unix.NFTA_TABLE_NAME, name)
		for i, chain := range chains {
			begin(r, unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE)
			r.Text(unix.NFTA_CHAIN_TABLE, name)
			r.Text(unix.NFTA_CHAIN_NAME, chain)
			if i > 0 {
				continue
			}
			r.Text(unix.NFTA_CHAIN_TYPE, "filter")
			r.Nest(unix.NFTA_CHAIN_HOOK, func() {
				r.Big(unix.NFTA_HOOK_HOOKNUM, unix.NF_INET_FORWARD)
				r.Big(unix.NFTA_HOOK_PRIORITY, 0)
			})
			r.Big(unix.NFTA_CHAIN_POLICY, 0) // drop
		}
		if len(chains) > 1 { // as Docker calls it
			begin(r, unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE)
			r.Text(unix.NFTA_RULE_TABLE, name)
			r.Text(unix.NFTA_RULE_CHAIN, chains[0])
			r.Nest(unix.NFTA_RULE_EXPRESSIONS, func() {
				r.Nest(unix.NFTA_LIST_ELEM, func() {
					r.Text(unix.NFTA_EXPR_NAME, "immediate")
					r.Nest(unix.NFTA_EXPR_DATA, func() {
						r.Big(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
						r.Nest(unix.NFTA_IMMEDIATE_DATA, func() {
							r.Nest(unix.NFTA_DATA_VERDICT, func() {
								jump := int32(unix.NFT_JUMP)
								r.Big(unix.NFTA_VERDICT_CODE, uint32(jump))
								r.Text(unix.NFTA_VERDICT_CHAIN, chains[1])
							})
						})
					})
				})
			})
		}
	}), nil))
	w.t.Cleanup(func() {
		k, err := openKernel()
		w.must(err)
		defer k.close()
		w.must(k.rules.Do(netlink.Batch(func(r *netlink.Request) {
			begin(r, unix.NFT_MSG_DELTABLE, 0)
			r.Text(unix.NFTA_TABLE_NAME, name)
		}), nil))
	})
}

// Beside a Docker that drops what is forwarded, in whichever order the two
// come, containers reach the outside and are reached by published ports, and
// networks stay apart.
func TestBesideDocker(t *testing.T) {
	for _, c := range []struct {
		name   string
		first  bool
		chains []string
		bridge string
		rules  int
	}{
		{"Docker was there", true, []string{"FORWARD", "DOCKER-USER"}, "", 2},
		{"Docker comes later", false, []string{"FORWARD", "DOCKER-USER"}, "", 2},
		{"a firewall of iptables", true, []string{"FORWARD"}, "", 2},
		{"a bridge with a name of the user's", true, []string{"FORWARD"}, "mine", 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			docker := func() {
				w.foreign(unix.NFPROTO_IPV4, "filter", c.chains...)
				w.foreign(unix.NFPROTO_IPV6, "filter", c.chains...)
			}
			w.create(Options{Name: "net", IPv6: true, Options: map[string]string{"com.docker.network.bridge.name": c.bridge}})
			if c.first {
				docker()
			} else {
				w.attach("early", nil, "net")
				docker()
			}
			web := w.attach("web", []Port{tcp(8080, 80)}, "net")
			other := w.attach("other", nil, Default)
			web.serve("tcp", 80, "web")
			w.outside.serve("tcp", 80, "outside")
			web.reaches("tcp", outside4+":80", "outside "+home4)
			web.reaches("tcp", "["+outside6+"]:80", "outside "+home6)
			w.outside.reaches("tcp", home4+":8080", "web "+outside4)
			w.outside.reaches("tcp", "["+home6+"]:8080", "web "+outside6)
			other.misses("tcp", web.ip()+":80")

			// It is not done again for each container.
			for i := range 3 {
				w.attach(fmt.Sprintf("more%d", i), []Port{tcp(0, 80)}, "net")
			}
			place := table.Foreign{Family: unix.NFPROTO_IPV4, Table: "filter", Chain: c.chains[len(c.chains)-1]}
			if n, err := countRules(place); err != nil || n != c.rules {
				t.Errorf("%d rules in %s, %v", n, describe(place), err)
			}
		})
	}
}

// What is not forwarded for containers is dropped as before.
func TestOthersStayClosed(t *testing.T) {
	w := newWorld(t)
	w.foreign(unix.NFPROTO_IPV4, "filter", "FORWARD")
	w.attach("a", nil, Default)
	third := newSpace(t)
	third.joins(w, "192.168.99.1", "192.168.99.2")
	w.outside.serve("tcp", 80, "outside")
	w.outside.route("192.168.99.0/24", home4)
	third.misses("tcp", outside4+":80")
}

// tables runs iptables, or one of its like, on commands of which each is a line.
func (w *world) tables(program, commands string) {
	w.t.Helper()
	for command := range strings.Lines(commands) {
		args := append([]string{"-w"}, strings.Fields(command)...)
		if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
			w.t.Fatalf("%s %s: %v: %s", program, command, err, out)
		}
	}
}

// What Docker writes of the filter when it starts, before it lets a container of
// its own through.
const dockerRules = `-P FORWARD DROP
-N DOCKER-USER
-A DOCKER-USER -j RETURN
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT`

const noRules = "-P FORWARD ACCEPT\n-F\n-X"

// talks sees that a container is connected: to the outside and back, and by its
// published port 8080.
func (w *world) talks(web *guest) {
	w.t.Helper()
	web.reaches("tcp", outside4+":80", "outside "+home4)
	w.outside.reaches("tcp", home4+":8080", "web "+outside4)
	w.home.reaches("tcp", home4+":8080", "web "+home4)
}

// Docker itself writes by iptables, and again whenever it is started. Its rules
// stay above minict's in FORWARD, and minict's are in the chain for others. So
// both are there at once, in whichever order they come.
func TestBesideTheRulesOfIptables(t *testing.T) {
	for name, first := range map[string]bool{"Docker was there": true, "Docker comes later": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if !first {
				w.attach("early", nil, Default)
			}
			w.tables("iptables-nft", dockerRules)
			t.Cleanup(func() { w.tables("iptables-nft", noRules) })
			web := w.attach("web", []Port{tcp(8080, 80)}, Default)
			web.serve("tcp", 80, "web")
			w.outside.serve("tcp", 80, "outside")
			w.talks(web)

			// The tool reads the rules as its own form.
			out, err := exec.Command("iptables-nft", "-S", "DOCKER-USER").CombinedOutput()
			w.must(err)
			for _, rule := range []string{"-A DOCKER-USER -i minict+ ", "-A DOCKER-USER -o minict+ ", "-A DOCKER-USER -j RETURN"} {
				if !strings.Contains(string(out), rule) {
					t.Errorf("%q is not in\n%s", rule, out)
				}
			}

			// Docker is started anew: it leaves the chain for others as it is.
			w.tables("iptables-nft", "-D FORWARD -j DOCKER-USER\n-I FORWARD -j DOCKER-USER")
			w.talks(web)
			// All is flushed: the next start, of anything, puts it back.
			w.tables("iptables-nft", "-F DOCKER-USER")
			w.outside.misses("tcp", home4+":8080")
			w.attach("later", nil, Default)
			w.talks(web)
		})
	}
}

// firewalld rejects in its last rule what comes from interfaces that no zone
// has. Its table is one of inet.
func TestBesideFirewalld(t *testing.T) {
	w := newWorld(t)
	c := &nftables.Conn{}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "firewalld"})
	for name, hook := range map[string]*nftables.ChainHook{"filter_INPUT": nftables.ChainHookInput, "filter_FORWARD": nftables.ChainHookForward} {
		chain := c.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: nftables.ChainPriorityRef(10)})
		known := []expr.Any{ // ct state established,related
			&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{6, 0, 0, 0}, Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
			&expr.Verdict{Kind: expr.VerdictAccept},
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: known})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}})
	}
	w.must(c.Flush())
	t.Cleanup(func() {
		c.DelTable(table)
		w.must(c.Flush())
	})
	web := w.attach("web", []Port{tcp(8080, 80)}, Default)
	web.serve("tcp", 80, "web")
	w.outside.serve("tcp", 80, "outside")
	w.home.serve("tcp", 90, "home")
	w.talks(web)
	web.reaches("tcp", web.Endpoints[0].Gateways[0].String()+":90", "home "+web.ip())
	w.outside.misses("tcp", home4+":90")
}

// Into the tables of iptables-legacy nothing can be put: it is said that they
// drop, and what their owner has to accept is enough.
func TestBesideLegacyTables(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	w.Log = slog.New(slog.NewTextHandler(&log, nil))
	t.Cleanup(func() {
		w.tables("iptables-legacy", noRules)
		w.tables("ip6tables-legacy", noRules)
	})
	w.tables("iptables-legacy", "-L")
	w.tables("ip6tables-legacy", "-L")
	w.must(w.Reload(t.Context()))
	if strings.Contains(log.String(), "legacy") {
		t.Errorf("they accept, and it is said:\n%s", &log)
	}
	w.tables("iptables-legacy", dockerRules)
	w.tables("ip6tables-legacy", "-P FORWARD DROP\n-P INPUT ACCEPT")
	w.must(deleteRules())
	web := w.attach("web", []Port{tcp(8080, 80)}, Default)
	for _, name := range []string{"iptables-legacy filter FORWARD", "ip6tables-legacy filter FORWARD"} {
		if !strings.Contains(log.String(), "minict*: "+name) {
			t.Errorf("nothing is said of %s:\n%s", name, &log)
		}
	}
	web.serve("tcp", 80, "web")
	w.outside.serve("tcp", 80, "outside")
	w.outside.misses("tcp", home4+":8080")
	w.tables("iptables-legacy", "-I FORWARD -i minict+ -j ACCEPT\n-I FORWARD -o minict+ -j ACCEPT")
	w.talks(web)
}
