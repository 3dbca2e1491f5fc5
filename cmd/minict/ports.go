package main

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"minict/container"
	"minict/network"
)

func (a *app) portCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "port CONTAINER [PORT[/udp]]",
		Short:   "Print where the ports of a container are published",
		Example: "  minict port web\n  minict port web 80",
		Args:    needs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			list, err := a.manager().Ports(args[0])
			if err != nil {
				return err
			}
			if len(args) == 1 {
				for _, p := range list {
					fmt.Fprintf(a.out, "%s -> %s\n", container.ContainerPort{Number: p.Container, Protocol: p.Protocol}, hostPort(p))
				}
				return nil
			}
			wanted, err := container.ParseExpose(args[1])
			if err != nil {
				return err
			}
			found := false
			for _, p := range list {
				if slices.Contains(wanted, container.ContainerPort{Number: p.Container, Protocol: p.Protocol}) {
					fmt.Fprintln(a.out, hostPort(p))
					found = true
				}
			}
			if !found {
				return fmt.Errorf("no public port '%s' published for %s", wanted[0], args[0])
			}
			return nil
		},
	}
}

// hostPort is where a port is published: 0.0.0.0:8080.
func hostPort(p network.Port) string {
	return net.JoinHostPort(p.HostIP.String(), strconv.Itoa(int(p.Host)))
}

// portText is what ps says of ports, as Docker puts it: neighbours under the
// same number outside and inside are one range, others stand alone, behind.
func portText(s container.Summary) string {
	if s.State != container.Running && s.State != container.Paused {
		return ""
	}
	shown := slices.Clone(s.Ports)
	for _, p := range s.Exposed {
		if !slices.ContainsFunc(s.Ports, func(q network.Port) bool { return q.Container == p.Number && q.Protocol == p.Protocol }) {
			shown = append(shown, network.Port{Container: p.Number, Protocol: p.Protocol})
		}
	}
	slices.SortFunc(shown, func(p, q network.Port) int {
		return cmp.Or(cmp.Compare(p.Container, q.Container), strings.Compare(addressOf(p), addressOf(q)),
			cmp.Compare(p.Host, q.Host), strings.Compare(p.Protocol, q.Protocol))
	})
	var ranges []portRange
	var last, single []string
	for _, p := range shown {
		if p.HostIP.IsValid() && p.Host != p.Container {
			single = append(single, fmt.Sprintf("%s->%d/%s", hostPort(p), p.Container, p.Protocol))
			continue
		}
		i := slices.IndexFunc(ranges, func(r portRange) bool { return r.address == addressOf(p) && r.protocol == p.Protocol })
		switch {
		case i < 0:
			ranges = append(ranges, portRange{addressOf(p), p.Protocol, p.Container, p.Container})
		case p.Container == ranges[i].last+1:
			ranges[i].last = p.Container
		default:
			last = append(last, ranges[i].String())
			ranges[i].first, ranges[i].last = p.Container, p.Container
		}
	}
	for _, r := range ranges {
		last = append(last, r.String())
	}
	return strings.Join(append(last, single...), ", ")
}

// portRange are ports with one address of the host, or none.
type portRange struct {
	address, protocol string
	first, last       uint16
}

func (r portRange) String() string {
	numbers := strconv.Itoa(int(r.first))
	if r.first != r.last {
		numbers = fmt.Sprintf("%d-%d", r.first, r.last)
	}
	if r.address != "" {
		numbers = net.JoinHostPort(r.address, numbers) + "->" + numbers
	}
	return numbers + "/" + r.protocol
}

// addressOf is the host's address, "" of a port that is not published.
func addressOf(p network.Port) string {
	if !p.HostIP.IsValid() {
		return ""
	}
	return p.HostIP.String()
}

// publishFilter takes ports of the host, exposeFilter those of the container.
func publishFilter(v string) (func(container.Summary) bool, error) {
	wanted, err := container.ParseExpose(v)
	return func(s container.Summary) bool {
		return slices.ContainsFunc(s.Ports, func(p network.Port) bool {
			return slices.Contains(wanted, container.ContainerPort{Number: p.Host, Protocol: p.Protocol})
		})
	}, err
}

func exposeFilter(v string) (func(container.Summary) bool, error) {
	wanted, err := container.ParseExpose(v)
	return func(s container.Summary) bool {
		return slices.ContainsFunc(s.Exposed, func(p container.ContainerPort) bool { return slices.Contains(wanted, p) })
	}, err
}
