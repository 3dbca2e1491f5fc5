package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"minict/container"
	"minict/network"
	"minict/runtime"
)

// explainSteps prints what a start consists of: how the container is
// connected, and each step of its plan.
func explainSteps(w io.Writer, e container.Explanation) error {
	if err := explainNetwork(w, e); err != nil {
		return err
	}
	return runtime.Explain(w, e.Plan, e.Clocks)
}

// explainNetwork prints how a container is connected. It happens beside the
// look-up of its image, so what counts is how long all of it took.
func explainNetwork(w io.Writer, e container.Explanation) error {
	if e.Attached == nil {
		return nil
	}
	fmt.Fprintf(w, "in its network, beside the look-up of the image, in %dµs:\n", e.Attaching.Microseconds())
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, at := range e.Attached.Endpoints {
		explainEndpoint(t, at)
	}
	for _, p := range e.Attached.Ports {
		fmt.Fprintf(t, "  publish %s\t%d/%s\t%s\n", hostPort(p), p.Container, p.Protocol, "what comes to the host there goes to the container; the port is taken until it ends")
	}
	return t.Flush()
}

func explainEndpoint(w io.Writer, e network.Endpoint) {
	var addresses []string
	for _, a := range e.Addresses {
		addresses = append(addresses, a.String())
	}
	fmt.Fprintf(w, "  connect %s\tnetwork %s, %s\t%s\n", e.Interface, e.Network, e.Host, "one end of a cable is in the container, the other is a port of the network's bridge")
	fmt.Fprintf(w, "  address %s\t%s\t%s\n", e.Interface, strings.Join(addresses, ", "), "nobody else has it as long as the container lives")
	if e.Default {
		for _, g := range e.Gateways {
			fmt.Fprintf(w, "  route default\tvia %s\t%s\n", g, gatewayWhy(e))
		}
	}
	if len(e.Names) > 0 {
		fmt.Fprintf(w, "  name %s\tnetwork %s\t%s\n", strings.Join(e.Names, ", "), e.Network, "the name servers of the others on this network answer with its address")
	}
}

func gatewayWhy(e network.Endpoint) string {
	if e.Internal {
		return "the host, which passes nothing on: the network is internal"
	}
	return "the host passes on what leaves the network, under its own address"
}
