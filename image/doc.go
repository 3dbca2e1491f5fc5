// Package image is what minict knows of the images that it has: how they are
// named, how they are found, and how they go again. Package pull, below it,
// fetches them from registries.
//
// It is on the way of every run, so it imports nothing of the network.
package image

import "minict/store"

// Client finds, lists and removes the images of a store. It may be used by
// several goroutines at once.
type Client struct {
	Store *store.Store
}
