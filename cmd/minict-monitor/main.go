// Command minict-monitor is the small program inside minict: a container's
// monitor, and the init that is PID 1 where the user wants one. Users never
// start it.
package main

func main() {}
