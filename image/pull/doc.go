// Package pull brings images from registries into the store.
//
// A pull is one path with one direction:
//
//	reference ─ registry ─▶ index ─ platform ─▶ manifest ─▶ config
//	                                                    └─▶ layers, side by side:
//	          network ─▶ blob file (digest, size) ─▶ decompress ─▶ directory (DiffID)
//	sync ─▶ one commit in the index
//
// Nothing is named by the index before all of it is on the disk and checked;
// what a pull that was cut off leaves behind is garbage to the store.
//
// Everything that a registry sends is hostile: each read is bounded, each
// blob is checked against its digest and size, each layer against its DiffID,
// and what an image says of itself (its labels, its configuration) chooses no
// action on the host.
package pull
