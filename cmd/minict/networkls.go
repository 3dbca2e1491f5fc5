package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"minict/network"
)

// networkRow is a line of network ls, under the names that Docker's templates
// use.
type networkRow struct {
	ID, Name, Driver, Scope, IPv6, Internal, CreatedAt, Labels string

	label func(key string) string
}

// Label is the value of one label: {{.Label "tier"}}.
func (r networkRow) Label(key string) string { return r.label(key) }

var networkHeader = networkRow{
	ID: "NETWORK ID", Name: "NAME", Driver: "DRIVER", Scope: "SCOPE", IPv6: "IPV6", Internal: "INTERNAL",
	CreatedAt: "CREATED AT", Labels: "LABELS", label: func(key string) string { return key },
}

func (a *app) networkListCommand() *cobra.Command {
	var quiet, noTrunc bool
	var format string
	var filters []string
	cmd := &cobra.Command{
		Use:     "ls [flags]",
		Short:   "List networks",
		Example: "  minict network ls\n  minict network ls -q --filter label=app=web",
		Args:    needs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := a.networks().List()
			if err != nil {
				return err
			}
			if list, err = a.filterNetworks(list, filters); err != nil {
				return err
			}
			rows := make([]networkRow, 0, len(list))
			for _, n := range list {
				rows = append(rows, networkRowOf(n, noTrunc))
			}
			switch {
			case quiet:
				for _, r := range rows {
					fmt.Fprintln(a.out, r.ID)
				}
				return nil
			case format != "":
				return formatted(a.out, format, networkHeader, rows)
			}
			var cells [][]string
			for _, r := range rows {
				cells = append(cells, []string{r.ID, r.Name, r.Driver, r.Scope})
			}
			return table(a.out, "NETWORK ID\tNAME\tDRIVER\tSCOPE", cells)
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&quiet, "quiet", "q", false, "print ids only")
	f.BoolVar(&noTrunc, "no-trunc", false, "print ids in full")
	f.StringVar(&format, "format", "", formatUsage)
	f.VarP((*values)(&filters), "filter", "f", "`key=value`: dangling, driver, id, label, name, scope, type")
	return cmd
}

func networkRowOf(n *network.Network, noTrunc bool) networkRow {
	var labels []string
	for k, v := range n.Labels {
		labels = append(labels, k+"="+v)
	}
	slices.Sort(labels)
	r := networkRow{
		ID: n.ID, Name: n.Name, Driver: n.Driver, Scope: "local", IPv6: strconv.FormatBool(n.IPv6), Internal: strconv.FormatBool(n.Internal),
		CreatedAt: n.Created.Local().String(), Labels: oneLine(strings.Join(labels, ",")),
		label: func(key string) string { return oneLine(n.Labels[key]) },
	}
	if !noTrunc {
		r.ID = r.ID[:min(12, len(r.ID))]
	}
	return r
}

// filterNetworks keeps the networks that fit. Of the values of one key one has
// to fit, of labels all; of different keys all.
func (a *app) filterNetworks(list []*network.Network, flags []string) ([]*network.Network, error) {
	conditions := map[string][]func(*network.Network) bool{}
	for _, flag := range flags {
		key, value, ok := strings.Cut(flag, "=")
		if !ok {
			return nil, fmt.Errorf("--filter: %q is not KEY=VALUE", flag)
		}
		fits, err := a.networkFilter(key, value)
		if err != nil {
			return nil, err
		}
		conditions[key] = append(conditions[key], fits)
	}
	return slices.DeleteFunc(list, func(n *network.Network) bool {
		for key, fits := range conditions {
			count := 0
			for _, f := range fits {
				if f(n) {
					count++
				}
			}
			if count == 0 || key == "label" && count < len(fits) {
				return true
			}
		}
		return false
	}), nil
}

// networkFilter is one --filter of network ls.
func (a *app) networkFilter(key, value string) (func(*network.Network) bool, error) {
	switch key {
	case "id":
		return func(n *network.Network) bool { return strings.HasPrefix(n.ID, value) }, nil
	case "name":
		re, err := regexp.Compile(value)
		if err != nil {
			return nil, fmt.Errorf("--filter: name: %w", err)
		}
		return func(n *network.Network) bool { return re.MatchString(n.Name) }, nil
	case "driver":
		return func(n *network.Network) bool { return n.Driver == value }, nil
	case "scope":
		return func(*network.Network) bool { return value == "local" }, nil
	case "label":
		return networkLabel(value), nil
	case "type":
		if value != "custom" && value != "builtin" {
			return nil, fmt.Errorf("--filter: type: %q is neither custom nor builtin", value)
		}
		return func(n *network.Network) bool { return n.Predefined() == (value == "builtin") }, nil
	case "dangling":
		wanted, err := strconv.ParseBool(value)
		if err != nil {
			return nil, fmt.Errorf("--filter: dangling: %q is neither true nor false", value)
		}
		return func(n *network.Network) bool {
			users, err := a.networks().Users(n.Name)
			return err == nil && !n.Predefined() && (len(users) == 0) == wanted
		}, nil
	}
	return nil, fmt.Errorf("--filter: %q is none of dangling, driver, id, label, name, scope, type", key)
}

// inspectedNetwork is a network under the names that docker network inspect
// uses.
type inspectedNetwork struct {
	Name       string
	ID         string `json:"Id"`
	Created    time.Time
	Scope      string
	Driver     string
	EnableIPv4 bool
	EnableIPv6 bool
	IPAM       inspectedIPAM
	Internal   bool
	Attachable bool
	Ingress    bool
	Containers map[string]inspectedEndpoint
	Options    map[string]string
	Labels     map[string]string
	Bridge     string `json:",omitempty"` // minict's own: the interface
	MTU        int    `json:",omitempty"` // minict's own
}

type inspectedIPAM struct {
	Driver string
	Config []inspectedSubnet
}

type inspectedSubnet struct {
	Subnet  string
	IPRange string `json:",omitempty"`
	Gateway string
}

type inspectedEndpoint struct {
	Name, EndpointID, MacAddress, IPv4Address, IPv6Address string
}

func (a *app) networkInspectCommand() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:     "inspect [flags] NETWORK [NETWORK...]",
		Short:   "Print everything about networks, as JSON",
		Example: "  minict network inspect web\n  minict network inspect --format '{{.Internal}}' web",
		Args:    needs(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var found []any
			last := a.eachQuietly(cmd.Context(), args, func(_ context.Context, ref string) error {
				n, err := a.inspectNetwork(ref)
				if err == nil {
					found = append(found, n)
				}
				return err
			})
			return errors.Join(a.printInspected(found, format), last)
		},
	}
	cmd.Flags().StringVarP(&format, "format", "f", "", formatUsage)
	return cmd
}

func (a *app) inspectNetwork(ref string) (*inspectedNetwork, error) {
	n, err := a.networks().Get(ref)
	if err != nil {
		return nil, err
	}
	users, err := a.networks().Users(n.Name)
	if err != nil {
		return nil, err
	}
	out := &inspectedNetwork{
		Name: n.Name, ID: n.ID, Created: n.Created, Scope: "local", Driver: n.Driver, EnableIPv4: n.Driver == network.DriverBridge,
		EnableIPv6: n.IPv6, IPAM: inspectedIPAM{Driver: "default", Config: []inspectedSubnet{}}, Internal: n.Internal,
		Containers: map[string]inspectedEndpoint{}, Options: n.Options, Labels: n.Labels, Bridge: n.Bridge, MTU: n.MTU,
	}
	for _, s := range n.Subnets {
		out.IPAM.Config = append(out.IPAM.Config, inspectedSubnet{Subnet: prefixText(s.Prefix), IPRange: prefixText(s.Range), Gateway: s.Gateway.String()})
	}
	for _, m := range []*map[string]string{&out.Options, &out.Labels} {
		if *m == nil {
			*m = map[string]string{}
		}
	}
	for _, u := range users {
		for _, e := range u.Endpoints {
			if e.NetworkID != n.ID && e.Network != n.Name {
				continue
			}
			at := inspectedEndpoint{Name: u.Name, EndpointID: e.ID, MacAddress: e.MAC}
			for _, address := range e.Addresses {
				if address.Addr().Is4() {
					at.IPv4Address = address.String()
				} else {
					at.IPv6Address = address.String()
				}
			}
			out.Containers[u.Container] = at
		}
	}
	return out, nil
}

// prefixText is "" for no prefix.
func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}
