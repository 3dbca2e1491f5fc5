package container

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// etcContents are the files that every container needs and that its image
// can't know, by the name in the container's directory.
func etcContents(c *Config) (map[string]string, error) {
	files := map[string]string{"hostname": c.Hostname + "\n"}
	if c.Network == NetworkHost {
		for _, name := range []string{"hosts", "resolv.conf"} {
			raw, err := os.ReadFile(filepath.Join("/etc", name))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			files[name] = string(raw)
		}
	} else {
		files["hosts"] = localHosts + "127.0.0.1\t" + hostNames(c) + "\n"
		files["resolv.conf"] = "# This container has no network: there is no name server to ask.\n"
	}
	for _, host := range c.ExtraHosts {
		name, addr, _ := strings.Cut(host, ":")
		files["hosts"] += addr + "\t" + name + "\n"
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

// writeEtc writes the files anew, as every start does. They lie beside what
// the container writes and not in memory, since it may fill them.
func (m *Manager) writeEtc(c *Config) error {
	files, err := etcContents(c)
	if err != nil {
		return err
	}
	for name, content := range files {
		path := filepath.Join(m.durableDir(c.ID), name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
		// The umask may have taken what a container's user needs.
		if err := os.Chmod(path, 0o644); err != nil {
			return err
		}
	}
	return nil
}
