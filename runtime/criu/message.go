package criu

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Kind is what is asked of CRIU: criu_req_type.
type Kind int

const (
	Dump    Kind = 1
	Restore Kind = 2
	PreDump Kind = 4

	notify Kind = 6
)

// Options are those of CRIU's that containers need: criu_opts. The zero value of
// each is CRIU's own default.
type Options struct {
	Pid          int    // of the first process, to be dumped
	Root         string // what becomes the root directory: a mount
	Log          string // name of the log, in the working directory
	ParentImages string // relative to the images
	ConfigFile   string // options that go before these
	FreezeCgroup string // directory of the cgroup whose freezer stops the processes
	LSMProfile   string
	LSMContext   string // of mounts
	CgroupYard   string // directory to mount cgroups in; else it makes one beside the log

	LeaveRunning, ExtUnixSk, TCPEstablished, TCPSkipInFlight, TCPClose    bool
	EvasiveDevices, ShellJob, FileLocks, LinkRemap, TrackMem, AutoDedup   bool
	Notify, RestoreSibling, OrphanPtsMaster, LazyPages, EmptyNetwork, NFT bool

	StatusFD    int // of this process, told when the pages can be fetched; 0: none
	CgroupMode  CgroupMode
	PageServer  PageServer
	CgroupRoots []CgroupRoot
	Mounts      []Pair // what is to be found outside: a mount point and a name for it, or that name and a path
	External    []string
	Join        []Pair // namespaces: a kind and a path
	Inherit     []Inherit
}

// PageServer is who takes or has the pages of memory.
type PageServer struct {
	Address string
	Port    int // 0: none
}

// CgroupRoot says where the cgroups are restored of a controller's hierarchy:
// "" is that of version 2.
type CgroupRoot struct{ Controller, Path string }

// Pair is a key and what it stands for.
type Pair struct{ Key, Value string }

// Inherit is a descriptor of CRIU's that becomes what was known by the key.
type Inherit struct {
	Key string
	FD  int
}

// CgroupMode says how much of cgroups is dumped and restored: criu_cg_mode.
type CgroupMode int

// The modes that engines know.
const (
	Ignore CgroupMode = 0
	Soft   CgroupMode = 3
	Full   CgroupMode = 4
	Strict CgroupMode = 5
)

// ParseCgroupMode reads a mode's name.
func ParseCgroupMode(s string) (CgroupMode, error) {
	switch s {
	case "ignore":
		return Ignore, nil
	case "soft":
		return Soft, nil
	case "full":
		return Full, nil
	case "strict":
		return Strict, nil
	}
	return 0, fmt.Errorf("cgroup mode %q is none of soft, full, strict and ignore", s)
}

// nftables is the number of that criu_network_lock_method.
const nftables = 2

// request writes criu_req.
func (o *Options) request(kind Kind, images, work int) message {
	var m message
	m.number(1, int(kind))
	m.bytes(2, o.encode(images, work))
	return m
}

// answer writes criu_req for one who was notified.
func answer(well bool) message {
	var m message
	m.number(1, int(notify))
	yes := 0
	if well {
		yes = 1
	}
	m.number(3, yes)
	return m
}

// encode writes criu_opts.
func (o *Options) encode(images, work int) message {
	const most = 4 // log level: all there is
	var m message
	m.number(1, images)
	m.number(17, work)
	m.number(9, most)
	if o.Pid != 0 {
		m.number(2, o.Pid)
	}
	for field, set := range map[uint64]bool{
		3: o.LeaveRunning, 4: o.ExtUnixSk, 5: o.TCPEstablished, 6: o.EvasiveDevices, 7: o.ShellJob, 8: o.FileLocks,
		12: o.Notify, 15: o.TrackMem, 16: o.AutoDedup, 18: o.LinkRemap, 26: o.RestoreSibling, 46: o.TCPSkipInFlight,
		48: o.LazyPages, 50: o.OrphanPtsMaster, 52: o.TCPClose,
	} {
		m.flag(field, set)
	}
	for field, s := range map[uint64]string{
		10: o.Log, 13: o.Root, 14: o.ParentImages, 44: o.FreezeCgroup, 51: o.ConfigFile, 53: o.LSMProfile, 60: o.CgroupYard, 63: o.LSMContext,
	} {
		m.text(field, s)
	}
	if o.PageServer.Port != 0 {
		var ps message
		ps.text(1, o.PageServer.Address)
		ps.number(2, o.PageServer.Port)
		m.bytes(11, ps)
	}
	if o.StatusFD != 0 {
		m.number(49, o.StatusFD)
	}
	if o.EmptyNetwork {
		m.number(38, unix.CLONE_NEWNET)
	}
	if o.NFT {
		m.number(64, nftables)
	}
	m.number(34, int(o.CgroupMode))
	o.encodeLists(&m)
	return m
}

func (o *Options) encodeLists(m *message) {
	for field, list := range map[uint64][]Pair{23: o.Mounts, 39: o.Join} {
		for _, p := range list {
			var pair message
			pair.bytes(1, []byte(p.Key))
			pair.bytes(2, []byte(p.Value))
			m.bytes(field, pair)
		}
	}
	for _, root := range o.CgroupRoots {
		var r message
		r.bytes(1, []byte(root.Controller)) // "" is a name too
		r.bytes(2, []byte(root.Path))
		m.bytes(25, r)
	}
	for _, fd := range o.Inherit {
		var in message
		in.bytes(1, []byte(fd.Key))
		in.number(2, fd.FD)
		m.bytes(27, in)
	}
	for _, name := range o.External {
		m.bytes(37, []byte(name))
	}
}

// response is criu_resp, as far as it is used.
type response struct {
	kind   Kind
	well   bool
	pid    int    // of the process that was restored
	script string // what a notification is about
	first  int    // … and the first process, if it has to do with it
	errno  int
	text   string // the first error
}

func readResponse(m message) (r response, err error) {
	err = m.fields(func(field, n uint64, b []byte) error {
		switch field {
		case 1:
			r.kind = Kind(n)
		case 2:
			r.well = n != 0
		case 4:
			return message(b).fields(func(field, n uint64, _ []byte) error {
				if field == 1 {
					r.pid = int(int32(n))
				}
				return nil
			})
		case 5:
			return message(b).fields(func(field, n uint64, b []byte) error {
				switch field {
				case 1:
					r.script = string(b)
				case 2:
					r.first = int(int32(n))
				}
				return nil
			})
		case 7:
			r.errno = int(int32(n))
		case 9:
			r.text = string(b)
		}
		return nil
	})
	return r, err
}
