package criu

import (
	"strings"
	"testing"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// all are options none of which has its default.
var all = Options{
	Pid: 12, Root: "/root", Log: "log", ParentImages: "../parent", ConfigFile: "/config", FreezeCgroup: "/freezer",
	LSMProfile: "apparmor:x", LSMContext: "context", CgroupYard: "/yard",
	LeaveRunning: true, ExtUnixSk: true, TCPEstablished: true, TCPSkipInFlight: true, TCPClose: true,
	EvasiveDevices: true, ShellJob: true, FileLocks: true, LinkRemap: true, TrackMem: true, AutoDedup: true,
	Notify: true, RestoreSibling: true, OrphanPtsMaster: true, LazyPages: true, EmptyNetwork: true, NFT: true,
	StatusFD: 9, CgroupMode: Strict, PageServer: PageServer{"10.0.0.1", 80},
	CgroupRoots: []CgroupRoot{{"memory", "/a"}, {"", "/b"}},
	Mounts:      []Pair{{"/data", "/host"}, {"", ""}},
	External:    []string{"net[1]:x", "file[1:2]"},
	Join:        []Pair{{"ipc", "/proc/1/ns/ipc"}},
	Inherit:     []Inherit{{"pipe:[1]", 4}, {"pipe:[2]", 5}},
}

// What is written is what CRIU's own library means by the same words.
func TestRequestIsWhatCRIUReads(t *testing.T) {
	yes := proto.Bool(true)
	want := &rpc.CriuReq{Type: rpc.CriuReqType_DUMP.Enum(), Opts: &rpc.CriuOpts{
		ImagesDirFd: proto.Int32(7), WorkDirFd: proto.Int32(8), LogLevel: proto.Int32(4),
		Pid: proto.Int32(12), Root: proto.String("/root"), LogFile: proto.String("log"), ParentImg: proto.String("../parent"),
		ConfigFile: proto.String("/config"), FreezeCgroup: proto.String("/freezer"),
		LsmProfile: proto.String("apparmor:x"), LsmMountContext: proto.String("context"), CgroupYard: proto.String("/yard"),
		LeaveRunning: yes, ExtUnixSk: yes, TcpEstablished: yes, TcpSkipInFlight: yes, TcpClose: yes,
		EvasiveDevices: yes, ShellJob: yes, FileLocks: yes, LinkRemap: yes, TrackMem: yes, AutoDedup: yes,
		NotifyScripts: yes, RstSibling: yes, OrphanPtsMaster: yes, LazyPages: yes,
		EmptyNs: proto.Uint32(0x40000000), NetworkLock: rpc.CriuNetworkLockMethod_NFTABLES.Enum(),
		StatusFd: proto.Int32(9), ManageCgroupsMode: rpc.CriuCgMode_STRICT.Enum(),
		Ps:       &rpc.CriuPageServerInfo{Address: proto.String("10.0.0.1"), Port: proto.Int32(80)},
		CgRoot:   []*rpc.CgroupRoot{{Ctrl: proto.String("memory"), Path: proto.String("/a")}, {Ctrl: proto.String(""), Path: proto.String("/b")}},
		ExtMnt:   []*rpc.ExtMountMap{{Key: proto.String("/data"), Val: proto.String("/host")}, {Key: proto.String(""), Val: proto.String("")}},
		External: []string{"net[1]:x", "file[1:2]"},
		JoinNs:   []*rpc.JoinNamespace{{Ns: proto.String("ipc"), NsFile: proto.String("/proc/1/ns/ipc")}},
		InheritFd: []*rpc.InheritFd{{Key: proto.String("pipe:[1]"), Fd: proto.Int32(4)},
			{Key: proto.String("pipe:[2]"), Fd: proto.Int32(5)}},
	}}
	got := new(rpc.CriuReq)
	if err := proto.Unmarshal(all.request(Dump, 7, 8), got); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(got, want) || len(got.ProtoReflect().GetUnknown()) > 0 {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	var plain Options
	if err := proto.Unmarshal(plain.request(Restore, 7, 8), got); err != nil {
		t.Fatal(err)
	}
	got.Opts.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if n := f.Name(); n != "images_dir_fd" && n != "work_dir_fd" && n != "log_level" && n != "manage_cgroups_mode" {
			t.Errorf("%s is set, and nobody asked for it", n)
		}
		return true
	})
	for _, well := range []bool{true, false} {
		if err := proto.Unmarshal(answer(well), got); err != nil || got.GetType() != rpc.CriuReqType_NOTIFY || got.GetNotifySuccess() != well {
			t.Errorf("answer %v: %v, %v", well, got, err)
		}
	}
	for _, name := range []string{"ignore", "soft", "full", "strict"} {
		mode, err := ParseCgroupMode(name)
		if err != nil || rpc.CriuCgMode_name[int32(mode)] != strings.ToUpper(name) {
			t.Errorf("mode %s is %s, %v", name, rpc.CriuCgMode_name[int32(mode)], err)
		}
	}
}

func encoded(t testing.TB, r *rpc.CriuResp) message {
	t.Helper()
	data, err := proto.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var (
	restored = &rpc.CriuResp{Type: rpc.CriuReqType_RESTORE.Enum(), Success: proto.Bool(true), Restore: &rpc.CriuRestoreResp{Pid: proto.Int32(99)}}
	told     = &rpc.CriuResp{Type: rpc.CriuReqType_NOTIFY.Enum(), Success: proto.Bool(true),
		Notify: &rpc.CriuNotify{Script: proto.String("post-restore"), Pid: proto.Int32(98)}}
	wrong = &rpc.CriuResp{Type: rpc.CriuReqType_DUMP.Enum(), Success: proto.Bool(false), CrErrno: proto.Int32(3), CrErrmsg: proto.String("no")}
)

func TestResponseIsWhatCRIUWrites(t *testing.T) {
	for _, c := range []struct {
		sent *rpc.CriuResp
		want response
	}{
		{restored, response{kind: Restore, well: true, pid: 99}},
		{told, response{kind: notify, well: true, script: "post-restore", first: 98}},
		{wrong, response{kind: Dump, errno: 3, text: "no"}},
	} {
		if got, err := readResponse(encoded(t, c.sent)); err != nil || got != c.want {
			t.Errorf("%v: %+v, %v", c.sent, got, err)
		}
	}
	// Fields of other kinds are passed over.
	other := message{3<<3 | wireFixed8, 1, 2, 3, 4, 5, 6, 7, 8, 4<<3 | wireFixed4, 1, 2, 3, 4, 2<<3 | wireVarint, 1}
	if got, err := readResponse(other); err != nil || !got.well {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range len(other) {
		if got, err := readResponse(other[:n]); err == nil && got.well {
			t.Errorf("of %d bytes: %+v", n, got)
		}
	}
}

// Whatever comes is read or refused.
func FuzzResponse(f *testing.F) {
	for _, r := range []*rpc.CriuResp{restored, told, wrong} {
		f.Add([]byte(encoded(f, r)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := readResponse(data)
		theirs := new(rpc.CriuResp)
		if proto.Unmarshal(data, theirs) != nil {
			return
		}
		if err == nil && theirs.Success != nil && got.well != theirs.GetSuccess() {
			t.Errorf("%x: %+v, and CRIU's library reads %v", data, got, theirs)
		}
	})
}

// The error that counts is the first after CRIU has begun: before, it tries out
// what the kernel can do.
func TestErrorsOfALog(t *testing.T) {
	const tried = "(00.1) Error (criu/tun.c:85): tun: Unable to create tun\n"
	for log, want := range map[string]string{
		"": "",
		tried + "(00.2) Error (criu/vdso.c:381): vdso: bounds\n":                                                                                "tun: Unable to create tun; vdso: bounds",
		tried + "(00.2) Dumping processes (pid: 7 comm: sh)\n(00.3) 1: Error (criu/a.c:1): cause\n(00.4) Error (criu/b.c:2): Dumping FAILED.\n": "cause",
		tried + "(00.2) Reading image tree\nError (criu/a.c:1) without a colon\n":                                                               "criu/a.c:1) without a colon",
		tried + "(00.2) Pre-dumping processes (pid: 7 comm: sh)\nfine\n":                                                                        "",
	} {
		if got := errorsOf(strings.NewReader(log)); got != want {
			t.Errorf("%q: %q, want %q", log, got, want)
		}
	}
}
