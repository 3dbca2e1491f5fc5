package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
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
	var asked []string
	cmd := &cobra.Command{
		Use:     "ls [flags]",
		Short:   "List networks",
		Example: "  minict network ls\n  minict network ls -q --filter label=app=web",
		Args:    needs(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			wanted, _, err := a.networkFilters().parse(asked)
			if err != nil {
				return err
			}
			list, err := a.networks().List()
			if err != nil {
				return err
			}
			var rows []networkRow
			for _, n := range list {
				if wanted(n) {
					rows = append(rows, networkRowOf(n, noTrunc))
				}
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
	f.VarP((*values)(&asked), "filter", "f", "`key=value`: dangling, driver, id, label, name, scope, type")
	return cmd
}

func networkRowOf(n *network.Network, noTrunc bool) networkRow {
	r := networkRow{
		ID: n.ID, Name: n.Name, Driver: n.Driver, Scope: "local", IPv6: strconv.FormatBool(n.IPv6), Internal: strconv.FormatBool(n.Internal),
		CreatedAt: n.Created.Local().String(), Labels: oneLine(labelText(n.Labels)),
		label: func(key string) string { return oneLine(n.Labels[key]) },
	}
	if !noTrunc {
		r.ID = r.ID[:min(12, len(r.ID))]
	}
	return r
}

// networkFilters are those of network ls.
func (a *app) networkFilters() filters[*network.Network] {
	return filters[*network.Network]{
		"id":       {read: networkFits(func(n *network.Network, v string) bool { return strings.HasPrefix(n.ID, v) })},
		"name":     {read: networkNameFilter},
		"driver":   {read: networkFits(func(n *network.Network, v string) bool { return n.Driver == v })},
		"scope":    {read: networkFits(func(_ *network.Network, v string) bool { return v == "local" })},
		"label":    {read: networkLabelFilter, all: true},
		"type":     {read: networkTypeFilter},
		"dangling": {read: a.danglingFilter},
	}
}

// networkFits takes any value.
func networkFits(fits func(n *network.Network, v string) bool) func(v string) (func(*network.Network) bool, error) {
	return func(v string) (func(*network.Network) bool, error) {
		return func(n *network.Network) bool { return fits(n, v) }, nil
	}
}

func networkNameFilter(v string) (func(*network.Network) bool, error) {
	re, err := regexp.Compile(v)
	if err != nil {
		return nil, err
	}
	return func(n *network.Network) bool { return re.MatchString(n.Name) }, nil
}

func networkLabelFilter(v string) (func(*network.Network) bool, error) {
	fits := labelled(v)
	return func(n *network.Network) bool { return fits(n.Labels) }, nil
}

func networkTypeFilter(v string) (func(*network.Network) bool, error) {
	if v != "custom" && v != "builtin" {
		return nil, fmt.Errorf("%q is neither custom nor builtin", v)
	}
	return func(n *network.Network) bool { return n.Predefined() == (v == "builtin") }, nil
}

func (a *app) danglingFilter(v string) (func(*network.Network) bool, error) {
	wanted, err := strconv.ParseBool(v)
	if err != nil {
		return nil, fmt.Errorf("%q is neither true nor false", v)
	}
	return func(n *network.Network) bool {
		users, err := a.networks().Users(n.Name)
		return err == nil && !n.Predefined() && (len(users) == 0) == wanted
	}, nil
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
