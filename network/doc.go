// Package network connects containers: an open network namespace in, an
// endpoint out, with its addresses, its way to the outside, and the ports
// under which it is reached.
//
// A network is a bridge of the host. An endpoint is a veth pair: one end is a
// port of the bridge, the other is the container's eth0. It dies with the
// container's namespace. What the kernel does not free by itself is in files,
// each of which is the container's whose id stands in it:
//
//	ROOT/NAME                        a definition, JSON; survives a reboot
//	STATE/.lock                      shared: who attaches; exclusive: who makes or removes what is shared
//	STATE/.generation                of the ruleset when it was last looked at
//	STATE/NAME/up                    the number of the bridge, when it was whole
//	STATE/NAME/cursor4, cursor6      the address that was given last
//	STATE/NAME/announced             if a container once had a MAC of its own choice
//	STATE/NAME/leases/ADDRESS        symbolic link to the container's id
//	STATE/NAME/names/LABEL/ADDRESS   the same, for a name of it; not of the default network
//	CONTAINERS/ID/net/NAME           symbolic link to STATE/NAME, for each network of a user's it is on
//	CONTAINERS/ID/name               symbolic link to its name, for reverse look-ups (else it is its short id)
//	CONTAINERS/ID/resolver           what its resolver has to know, see Request.Servers
//	CONTAINERS/ID/endpoints          JSON of Attached, for who wants to show it
//	CONTAINERS/ID/release            what is to be undone, for package release
//
// Filtering and address translation are one nftables table, "inet minict",
// whose rules never change: networks and ports are elements of its sets and
// maps. docs/network.md explains all of it.
package network
