package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minict/container"
	"minict/network"
)

// networkVerbs are the commands about networks.
var networkVerbs = []verb{
	{name: "create", make: (*app).networkCreateCommand},
	{name: "ls", make: (*app).networkListCommand, container: []string{"list"}},
	{name: "inspect", make: (*app).networkInspectCommand, complete: networksAny},
	{name: "rm", make: (*app).networkRemoveCommand, container: []string{"remove"}, complete: networksAny},
	{name: "connect", make: (*app).networkConnectCommand, sweeps: true, complete: networkAndContainer},
	{name: "disconnect", make: (*app).networkDisconnectCommand, sweeps: true, complete: networkAndContainer},
	{name: "prune", make: (*app).networkPruneCommand},
	{name: "reload", make: (*app).networkReloadCommand},
}

func (a *app) networkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "network",
		Short:   "Make, list and remove networks, and connect containers to them",
		Example: "  minict network create web\n  minict run -d --network web --name db alpine -- sleep 1000",
		Args:    unknownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, v := range networkVerbs {
		c := v.command(a)
		c.Aliases = v.container
		cmd.AddCommand(c)
	}
	return cmd
}

func (a *app) networkCreateCommand() *cobra.Command {
	var o network.Options
	var subnets, gateways, ranges, labels, options []string
	cmd := &cobra.Command{
		Use:     "create [flags] NETWORK",
		Short:   "Make a network, on which containers find each other by name",
		Example: "  minict network create web\n  minict network create --subnet 10.9.0.0/24 --internal db",
		Args:    needs(1, 1),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			o.Name = args[0]
			if o.Subnets, err = network.ParseSubnets(subnets, gateways, ranges); err != nil {
				return err
			}
			if o.Labels, err = container.ParseLabels(labels); err != nil {
				return err
			}
			if o.Options, err = driverOptions(options); err != nil {
				return err
			}
			n, err := a.networks().Create(cmd.Context(), o)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, n.ID)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&o.Driver, "driver", "d", network.DriverBridge, "`driver` of it: bridge is the only one")
	f.Var((*values)(&subnets), "subnet", "`addresses` of it: 10.9.0.0/24, fd00:9::/64 (default: free ones)")
	f.Var((*values)(&gateways), "gateway", "`address` of the host on it (default: the first)")
	f.Var((*values)(&ranges), "ip-range", "`addresses` to give to containers: a part of the subnet")
	f.BoolVar(&o.Internal, "internal", false, "no way out of it, and none in")
	f.BoolVar(&o.IPv6, "ipv6", false, "addresses of IPv6 too")
	f.Var((*values)(&labels), "label", "`key=value` to find it by")
	f.VarP((*values)(&options), "opt", "o", "`key=value`: mtu=1400")
	return cmd
}

func driverOptions(list []string) (map[string]string, error) {
	options := make(map[string]string, len(list))
	for _, s := range list {
		key, value, ok := strings.Cut(s, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--opt: %q is not KEY=VALUE", s)
		}
		options[key] = value
	}
	return options, nil
}

func (a *app) networkRemoveCommand() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "rm [flags] NETWORK [NETWORK...]",
		Short:   "Remove networks",
		Example: "  minict network rm web",
		Args:    needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd.Context(), args, func(ctx context.Context, ref string) error {
				err := a.networks().Remove(ctx, ref)
				if force && errors.Is(err, network.ErrNotFound) {
					return nil
				}
				return err
			})
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "don't mind if it is not there")
	return cmd
}

func (a *app) networkConnectCommand() *cobra.Command {
	var ip, ip6 string
	var aliases []string
	cmd := &cobra.Command{
		Use:     "connect [flags] NETWORK CONTAINER",
		Short:   "Put a container on one more network, at once if it runs",
		Example: "  minict network connect --alias database web db",
		Args:    needs(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			w := container.NetworkWish{Network: args[0]}
			if ip != "" {
				if err := w.SetIPv4(ip); err != nil {
					return err
				}
			}
			if ip6 != "" {
				if err := w.SetIPv6(ip6); err != nil {
					return err
				}
			}
			if err := w.AddAliases(aliases...); err != nil {
				return err
			}
			return a.manager().Connect(cmd.Context(), args[1], w)
		},
	}
	f := cmd.Flags()
	f.StringVar(&ip, "ip", "", "IPv4 `address` that it is to have")
	f.StringVar(&ip6, "ip6", "", "IPv6 `address` that it is to have")
	f.Var((*values)(&aliases), "alias", "further `name` on this network")
	return cmd
}

func (a *app) networkDisconnectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "disconnect [flags] NETWORK CONTAINER",
		Short:   "Take a container off a network, at once if it runs",
		Example: "  minict network disconnect web db",
		Args:    needs(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.manager().Disconnect(cmd.Context(), args[1], args[0])
		},
	}
	cmd.Flags().BoolP("force", "f", false, "as without it: a container that died is on no network")
	return cmd
}

func (a *app) networkPruneCommand() *cobra.Command {
	var force bool
	var asked []string
	cmd := &cobra.Command{
		Use:     "prune [flags]",
		Short:   "Remove the networks that no container is to be on",
		Example: "  minict network prune -f",
		Args:    needs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			wanted, _, err := pruneFilters.parse(asked)
			if err != nil {
				return err
			}
			if !force && !a.confirmed("This will remove all networks of yours that no container is to be on.") {
				return nil
			}
			return a.pruneNetworks(cmd.Context(), wanted)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "don't ask")
	cmd.Flags().Var((*values)(&asked), "filter", "`key=value`: label, label!, until")
	return cmd
}

// pruneNetworks leaves those that a container is to be on, though it does not
// run: it could not be started any more.
func (a *app) pruneNetworks(ctx context.Context, wanted func(*network.Network) bool) error {
	list, err := a.manager().List(ctx, true)
	if err != nil {
		return err
	}
	used := map[string]bool{}
	for _, s := range list {
		for _, name := range s.Networks {
			used[name] = true
		}
	}
	removed, err := a.networks().Prune(ctx, func(n *network.Network) bool { return used[n.Name] || !wanted(n) })
	if len(removed) > 0 {
		fmt.Fprintf(a.out, "Deleted Networks:\n%s\n", strings.Join(removed, "\n"))
	}
	return err
}

// pruneFilters are those of prune, all of which have to fit.
var pruneFilters = filters[*network.Network]{
	"label":  {read: networkLabelFilter, all: true},
	"label!": {read: networkLacksLabel, all: true},
	"until":  {read: networkUntil, all: true},
}

func networkLacksLabel(v string) (func(*network.Network) bool, error) {
	has := labelled(v)
	return func(n *network.Network) bool { return !has(n.Labels) }, nil
}

func networkUntil(v string) (func(*network.Network) bool, error) {
	before, err := parseTime("time", v, time.Now())
	return func(n *network.Network) bool { return n.Created.Before(before) }, err
}

// confirmed asks for a yes.
func (a *app) confirmed(warning string) bool {
	fmt.Fprintf(a.err, "WARNING! %s\nAre you sure you want to continue? [y/N] ", warning)
	line, _ := bufio.NewReader(a.in).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(line), "y")
}

func (a *app) networkReloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "reload",
		Short:   "Put bridges, rules and published ports back that somebody removed",
		Example: "  minict network reload    # after a flush of the firewall's rules",
		Args:    needs(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.networks().Reload(cmd.Context()) },
	}
}

func (a *app) networks() *network.Manager { return a.manager().Networks() }
