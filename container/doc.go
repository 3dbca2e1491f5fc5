// Package container makes containers of images: it creates, starts, stops,
// lists and removes them, runs further commands in them and shows their
// output.
//
// It takes a user's wishes (Options), adds what the image says (Resolve), and
// keeps the result (Config). To start a container it turns that into an OCI
// specification, which package runtime turns into a plan, which the
// container's monitor carries out. There is no daemon: the state of a
// container is what the kernel and these files say.
//
//	ROOT/containers/ID/    config.json  the Config; missing with --rm
//	                       upper, work  what the container changed in its image
//	                       log, log.1   its output, if it had any
//	                       exit         how it ended the last time
//	ROOT/spare/N/          a container's directory that was not written to, for
//	                       the next one
//	ROOT/base/             lies below all images: what things are mounted on
//	ROOT/volumes/NAME/     _data        a volume; anonymous ones have an id as name
//	ROOT/names/NAME        symbolic link to the ID that has the name
//	STATE/names/NAME       the same of a container with --rm
//	STATE/containers/.lock held shared while a run directory is made and its
//	                       lock taken, exclusively by the sweep
//	STATE/containers/ID/   lock         held by the monitor as long as it lives
//	                       state        what the monitor says of the container
//	                       sock         where attach and exec talk to the monitor
//	                       config.json  the Config, with --rm
//
// A run directory (STATE/containers/ID) exists only while its container lives,
// or died without a chance to clean up. In the second case its lock is free,
// and the next command sweeps: see Manager.Sweep.
package container
