package container

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"minict/runtime"
)

// The files that every container needs and that its image can't know. Every
// start makes them anew.
const (
	hostsFile    = "/etc/hosts"
	hostnameFile = "/etc/hostname"
	resolvFile   = "/etc/resolv.conf"
)

var etcFiles = []string{resolvFile, hostnameFile, hostsFile}

// etcContents are what is in them.
func etcContents(c *Config, net connection) (map[string]string, error) {
	files := map[string]string{hostnameFile: c.Hostname + "\n"}
	if c.Network == NetworkHost {
		for _, name := range []string{hostsFile, resolvFile} {
			raw, err := os.ReadFile(name)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			files[name] = string(raw)
		}
	} else {
		files[hostsFile] = localHosts + "127.0.0.1\t" + hostNames(c) + "\n"
		files[resolvFile] = "# This container has no network: there is no name server to ask.\n"
	}
	for _, host := range c.ExtraHosts {
		name, addr, _ := strings.Cut(host, ":")
		files[hostsFile] += addr + "\t" + name + "\n"
	}
	return files, nil
}

// etc gives those files that are shown to a container. Of a directory of the
// user's that serves as root file system, none is made: it stays as it is.
func (c *Config) etc(root *os.File, net connection) ([]runtime.File, error) {
	contents, err := etcContents(c, net)
	if err != nil {
		return nil, err
	}
	var files []runtime.File
	for _, name := range etcFiles {
		if !c.mountsOver(name) && (c.Rootfs == "" || hasFile(root, name)) {
			files = append(files, runtime.File{Target: name, Content: contents[name]})
		}
	}
	return files, nil
}

const localHosts = "127.0.0.1\tlocalhost\n" +
	"::1\tlocalhost ip6-localhost ip6-loopback\n" +
	"fe00::\tip6-localnet\n" +
	"ff00::\tip6-mcastprefix\n" +
	"ff02::1\tip6-allnodes\n" +
	"ff02::2\tip6-allrouters\n"

func hostNames(c *Config) string {
	if c.Domainname == "" {
		return c.Hostname
	}
	return c.Hostname + "." + c.Domainname + " " + c.Hostname
}
