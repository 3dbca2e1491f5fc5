package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"minict/container"
)

func (r *runFlags) registerNetwork(f *pflag.FlagSet) {
	f.Var((*values)(&r.networks), "network", "`name` of a network, or none, host, container:NAME (default bridge)")
	f.Var((*values)(&r.networks), "net", "")
	f.Lookup("net").Hidden = true // as in Docker, the short form of --network
	f.StringVar(&r.ip, "ip", "", "IPv4 `address` on the first network")
	f.StringVar(&r.ip6, "ip6", "", "IPv6 `address` on the first network")
	f.StringVar(&r.mac, "mac-address", "", "hardware `address` on the first network")
	f.Var((*values)(&r.aliases), "network-alias", "further `name` on the first network")
	f.Var((*values)(&r.aliases), "net-alias", "")
	f.Lookup("net-alias").Hidden = true
	f.VarP((*values)(&r.publish), "publish", "p", "publish a `port`, or a range: 8080:80, 127.0.0.1:53:53/udp")
	f.BoolVarP(&r.publishAll, "publish-all", "P", false, "publish all exposed ports under free ones of the host")
	f.Var((*values)(&r.expose), "expose", "`port[/udp]` for -P, or a range")
	f.StringVarP(&r.hostname, "hostname", "h", "", "host `name` (default: the short id)")
	f.StringVar(&r.domainname, "domainname", "", "NIS domain `name`")
	f.Var((*values)(&r.addHost), "add-host", "`name:address` for /etc/hosts; host-gateway is the host")
	f.Var((*values)(&r.dns), "dns", "`address` of a name server (default: the host's)")
	f.Var((*values)(&r.dnsSearch), "dns-search", "`domain` to search names in; . for none")
	f.Var((*values)(&r.dnsOptions), "dns-option", "`option` of the resolver: ndots:2")
	f.Var((*values)(&r.dnsOptions), "dns-opt", "")
	f.Lookup("dns-opt").Hidden = true
}

// completeNetwork has shells offer networks for --network.
func (a *app) completeNetwork(cmd *cobra.Command) {
	cmd.RegisterFlagCompletionFunc("network", func(cmd *cobra.Command, _ []string, begin string) ([]string, cobra.ShellCompDirective) {
		return a.networkNames(-1)(cmd, nil, begin)
	})
}

func (r *runFlags) readNetwork(o *container.Options) error {
	for _, text := range r.networks {
		w, err := container.ParseNetwork(text)
		if err != nil {
			return err
		}
		o.Networks = append(o.Networks, w)
	}
	if err := r.readEndpoint(o); err != nil {
		return err
	}
	for _, text := range r.publish {
		ports, err := container.ParsePublish(text)
		if err != nil {
			return err
		}
		o.Publish = append(o.Publish, ports...)
	}
	o.PublishAll = r.publishAll
	for _, text := range r.expose {
		ports, err := container.ParseExpose(text)
		if err != nil {
			return err
		}
		o.Expose = append(o.Expose, ports...)
	}
	for _, text := range r.addHost {
		host, err := container.ParseHost(text)
		if err != nil {
			return err
		}
		o.AddHosts = append(o.AddHosts, host)
	}
	for _, text := range r.dns {
		server, err := container.ParseServer(text)
		if err != nil {
			return err
		}
		o.DNS = append(o.DNS, server)
	}
	o.DNSSearch, o.DNSOptions = r.dnsSearch, r.dnsOptions
	return nil
}

// readEndpoint gives the first network what flags of their own say of it.
func (r *runFlags) readEndpoint(o *container.Options) error {
	if r.ip == "" && r.ip6 == "" && r.mac == "" && len(r.aliases) == 0 {
		return nil
	}
	if len(o.Networks) == 0 {
		o.Networks = []container.NetworkWish{{Network: "bridge"}}
	}
	w := &o.Networks[0]
	for _, flag := range []struct {
		value string
		taken bool
		name  string
		set   func(string) error
	}{
		{r.ip, w.IPv4.IsValid(), "ip", w.SetIPv4}, {r.ip6, w.IPv6.IsValid(), "ip6", w.SetIPv6}, {r.mac, w.MAC != "", "mac-address", w.SetMAC},
	} {
		if flag.value == "" {
			continue
		}
		if flag.taken {
			return fmt.Errorf("--%s: --network %s has one already", flag.name, w.Network)
		}
		if err := flag.set(flag.value); err != nil {
			return err
		}
	}
	if len(r.aliases) > 0 && len(w.Aliases) > 0 {
		return errors.New("--network-alias: --network has aliases already")
	}
	return w.AddAliases(r.aliases...)
}
