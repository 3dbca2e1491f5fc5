package oci

// command is one of the runtime's commands.
type command struct {
	name, args, short string
	min, max          int  // arguments; -1 for any number
	program           bool // what follows the first argument is for a program
	// prepare registers the command's flags and gives what carries it out.
	prepare func(*app, *flags) func(args []string) error
}

const container = "CONTAINER"

// table are all commands, in the order of their names.
func table() []command {
	return []command{
		{name: "checkpoint", args: container, short: "write a running container to a directory, with CRIU", min: 1, max: 1, prepare: (*app).checkpoint},
		{name: "create", args: container, short: "create a container of a bundle", min: 1, max: 1, prepare: (*app).create},
		{name: "delete", args: container, short: "remove a container that has stopped", min: 1, max: 1, prepare: (*app).delete},
		{name: "events", args: container, short: "tell what a container uses, again and again", min: 1, max: 1, prepare: (*app).events},
		{name: "exec", args: container + " [PROGRAM [ARGUMENT...]]", short: "run one more program in a container", min: 1, max: -1, program: true, prepare: (*app).exec},
		{name: "features", short: "tell what this runtime can do, as JSON", prepare: (*app).features},
		{name: "kill", args: container + " [SIGNAL]", short: "send a signal to a container (default TERM)", min: 1, max: 2, prepare: (*app).kill},
		{name: "list", short: "list the containers", prepare: (*app).list},
		{name: "pause", args: container, short: "stop all processes of a container", min: 1, max: 1, prepare: (*app).pause},
		{name: "ps", args: container + " [PS OPTION...]", short: "list the processes of a container", min: 1, max: -1, program: true, prepare: (*app).ps},
		{name: "restore", args: container, short: "bring back what checkpoint wrote, with CRIU", min: 1, max: 1, prepare: (*app).restore},
		{name: "resume", args: container, short: "let the processes of a paused container go on", min: 1, max: 1, prepare: (*app).resume},
		{name: "run", args: container, short: "create a container, start it, and remove it at its end", min: 1, max: 1, prepare: (*app).runContainer},
		{name: "spec", short: "write a config.json to begin with", prepare: (*app).spec},
		{name: "start", args: container, short: "start the program of a created container", min: 1, max: 1, prepare: (*app).start},
		{name: "state", args: container, short: "print the state of a container, as JSON", min: 1, max: 1, prepare: (*app).state},
		{name: "update", args: container, short: "change the limits of a container", min: 1, max: 1, prepare: (*app).update},
	}
}
