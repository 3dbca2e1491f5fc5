package oci

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// The variables of the fake CRIU: what it does, and the directory that it leaves
// what it has seen in.
const (
	fakeDoes = "FAKE_CRIU"
	fakeSees = "FAKE_CRIU_DIR"
)

// fake makes a program for --criu that speaks as CRIU does. Where CRIU does not
// work, it shows that minict does its part; and it fails where CRIU won't.
func (h *harness) fake(does string) string {
	h.t.Helper()
	self, err := os.Executable()
	h.must(err)
	dir, err := os.MkdirTemp(h.dir, "fake-")
	h.must(err)
	script := fmt.Sprintf("#!/bin/sh\n%s=criu %s='%s' %s=%s exec %s \"$@\"\n", helper, fakeDoes, does, fakeSees, dir, self)
	path := filepath.Join(dir, "criu")
	h.must(os.WriteFile(path, []byte(script), 0o755))
	return path
}

// asked reads what a fake CRIU was asked for.
func (h *harness) asked(fake string) *rpc.CriuReq {
	h.t.Helper()
	data, err := os.ReadFile(filepath.Join(filepath.Dir(fake), "request"))
	h.must(err)
	r := new(rpc.CriuReq)
	h.must(proto.Unmarshal(data, r))
	return r
}

// fakeCRIU is one request of "criu swrk".
type fakeCRIU struct {
	sock int
	dir  string
	opts *rpc.CriuOpts
	peer int
}

func runFakeCRIU() error {
	if len(os.Args) != 3 || os.Args[1] != "swrk" {
		return fmt.Errorf("called with %q", os.Args)
	}
	f := &fakeCRIU{dir: os.Getenv(fakeSees)}
	if _, err := fmt.Sscan(os.Args[2], &f.sock); err != nil {
		return err
	}
	peer, err := unix.GetsockoptUcred(f.sock, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	f.peer = int(peer.Pid)
	does := os.Getenv(fakeDoes)
	if does == "die early" {
		return errors.New("Error (criu/early.c:1): no room")
	}
	request, err := f.receive()
	if err != nil {
		return err
	}
	f.opts = request.GetOpts()
	if err := f.look(request); err != nil {
		return err
	}
	if request.GetType() == rpc.CriuReqType_RESTORE {
		return f.restore(does)
	}
	return f.dump(does)
}

// look keeps what there is to be seen of the request.
func (f *fakeCRIU) look(request *rpc.CriuReq) error {
	data, err := proto.Marshal(request)
	if err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	for name, content := range map[string][]byte{"request": data, "mounts": mounts, "cgroup": groups} {
		if err := os.WriteFile(filepath.Join(f.dir, name), content, 0o644); err != nil {
			return err
		}
	}
	work := fmt.Sprintf("/proc/%d/fd/%d", f.peer, f.opts.GetWorkDirFd())
	log := "(00.1) Error (criu/tried.c:1): only tried\n(00.2) Dumping processes (pid: 1 comm: x)\n(00.3) Error (criu/cause.c:1): the cause\n(00.4) Error (criu/end.c:1): FAILED\n"
	return os.WriteFile(filepath.Join(work, f.opts.GetLogFile()), []byte(log), 0o644)
}

func (f *fakeCRIU) receive() (*rpc.CriuReq, error) {
	data := make([]byte, 1<<16)
	n, err := unix.Read(f.sock, data)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("nobody is there")
	}
	r := new(rpc.CriuReq)
	return r, proto.Unmarshal(data[:n], r)
}

func (f *fakeCRIU) send(r *rpc.CriuResp, rights []byte) error {
	data, err := proto.Marshal(r)
	if err != nil {
		return err
	}
	return unix.Sendmsg(f.sock, data, rights, nil, 0)
}

func (f *fakeCRIU) answer(kind rpc.CriuReqType, well bool, pid int) error {
	r := &rpc.CriuResp{Type: kind.Enum(), Success: proto.Bool(well), CrErrmsg: proto.String("Error (criu/tried.c:1): only tried")}
	if pid != 0 {
		r.Restore = &rpc.CriuRestoreResp{Pid: proto.Int32(int32(pid))}
	}
	return f.send(r, nil)
}

// tell notifies, and waits for the answer.
func (f *fakeCRIU) tell(script string, pid int, rights []byte) error {
	n := &rpc.CriuNotify{Script: proto.String(script)}
	if pid != 0 {
		n.Pid = proto.Int32(int32(pid))
	}
	err := f.send(&rpc.CriuResp{Type: rpc.CriuReqType_NOTIFY.Enum(), Success: proto.Bool(true), Notify: n}, rights)
	if err != nil {
		return err
	}
	r, err := f.receive()
	if err == nil && (r.GetType() != rpc.CriuReqType_NOTIFY || !r.GetNotifySuccess()) {
		err = fmt.Errorf("%s failed", script)
	}
	return err
}

func (f *fakeCRIU) dump(does string) error {
	if err := f.tell("pre-dump", 0, nil); err != nil {
		return err
	}
	switch does {
	case "die":
		os.Exit(3)
	case "freeze and die":
		for name, value := range map[string]string{"cgroup.freeze": "1", "freezer.state": "FROZEN"} {
			path := filepath.Join(f.opts.GetFreezeCgroup(), name)
			if _, err := os.Stat(path); err != nil {
				continue
			}
			if err := os.WriteFile(path, []byte(value), 0); err != nil {
				return err
			}
		}
		os.Exit(3)
	case "refuse":
		return f.answer(rpc.CriuReqType_DUMP, false, 0)
	}
	if !f.opts.GetLeaveRunning() && !f.opts.GetTrackMem() {
		if err := unix.Kill(int(f.opts.GetPid()), unix.SIGKILL); err != nil {
			return err
		}
	}
	return f.answer(rpc.CriuReqType_DUMP, true, 0)
}

// restore makes a first process, which is the child of who asked, as CRIU's is.
func (f *fakeCRIU) restore(does string) error {
	if does == "refuse" {
		return f.answer(rpc.CriuReqType_RESTORE, false, 0)
	}
	cmd := exec.Command("/bin/busybox", "sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT | unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	for _, in := range f.opts.GetInheritFd() {
		if strings.HasPrefix(in.GetKey(), "pipe:") || strings.HasPrefix(in.GetKey(), "file[") {
			cmd.Stdout = os.NewFile(uintptr(in.GetFd()), in.GetKey())
		}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	if err := os.WriteFile(filepath.Join(f.dir, "pid"), fmt.Append(nil, pid), 0o644); err != nil {
		return err
	}
	switch does {
	case "hang early":
		time.Sleep(time.Hour)
	case "fail early":
		return f.answer(rpc.CriuReqType_RESTORE, false, 0)
	}
	if err := f.tell("setup-namespaces", pid, nil); err != nil {
		return errors.Join(err, f.answer(rpc.CriuReqType_RESTORE, false, 0))
	}
	switch does {
	case "hang":
		time.Sleep(time.Hour)
	case "fail":
		return f.answer(rpc.CriuReqType_RESTORE, false, 0)
	case "terminal":
		master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		if err := f.tell("orphan-pts-master", 0, unix.UnixRights(int(master.Fd()))); err != nil {
			return err
		}
	}
	if err := f.tell("post-restore", pid, nil); err != nil {
		return errors.Join(err, f.answer(rpc.CriuReqType_RESTORE, false, 0))
	}
	return f.answer(rpc.CriuReqType_RESTORE, true, pid)
}
