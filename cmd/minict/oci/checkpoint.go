package oci

import (
	"fmt"
	"net"
	"strconv"

	"minict/runtime/criu"
	containers "minict/runtime/oci"
)

func (a *app) checkpoint(f *flags) func([]string) error {
	var c criuFlags
	var opt containers.CheckpointOptions
	var server string
	c.register(f)
	f.text(&opt.Parent, "parent-path", "", "", "`directory` of the images of an earlier --pre-dump, relative to --image-path")
	f.bool(&opt.PreDump, "pre-dump", "", "write the memory alone, and let the container run on")
	f.bool(&opt.LeaveRunning, "leave-running", "", "let the container run on")
	f.bool(&opt.TCPSkipInFlight, "tcp-skip-in-flight", "", "leave out TCP connections that are being made")
	f.bool(&opt.LinkRemap, "link-remap", "", "give files that have lost their last name one beside it")
	f.number(&opt.StatusFD, "status-fd", "", "`descriptor` that is told when memory can be fetched, with --lazy-pages")
	f.text(&server, "page-server", "", "", "`address:port` that the memory is sent to, or with --lazy-pages is fetched from")
	return func(args []string) (err error) {
		if opt.CRIUOptions, err = c.options(a.criu); err != nil {
			return err
		}
		if opt.PageServer, err = pageServer(server); err != nil {
			return err
		}
		if err := descriptor("status-fd", opt.StatusFD); err != nil {
			return err
		}
		target, err := a.container(args[0])
		if err != nil {
			return err
		}
		return target.Checkpoint(opt)
	}
}

// pageServer reads address:port.
func pageServer(s string) (server criu.PageServer, err error) {
	if s == "" {
		return server, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		server.Address = host
		server.Port, err = strconv.Atoi(port)
	}
	if err != nil || server.Port <= 0 || server.Port > 65535 {
		return server, fmt.Errorf("--page-server %q is not address:port", s)
	}
	return server, nil
}
